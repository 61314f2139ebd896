package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// loopback is the address of an API server that no pod can reach.
const loopback = "127.0.0.1"

// startAPIServer serves on a free port, or for a node on its own, with the admission plugins that are on by default.
func startAPIServer(files files, etcdURL string, settings settings, end context.CancelCauseFunc) (string, error) {
	// The server is given the listener itself: a port that is only looked up could be taken before it is used.
	port, reconciler := "0", "none"
	if settings.node {
		// Pods find the server by the endpoints of its Service.
		port, reconciler = apiServerPort, "lease"
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(settings.address, port))
	if err != nil {
		return "", err
	}
	server := apiserver.NewServerRunOptions()
	err = parse(server.Flags(), []string{
		"--advertise-address=" + settings.address,
		"--endpoint-reconciler-type=" + reconciler,
		"--allow-privileged=true",
		"--authorization-mode=RBAC",
		"--bind-address=" + settings.address,
		"--etcd-servers=" + etcdURL,
		"--kubelet-client-certificate=" + files.clientCertificate,
		"--kubelet-client-key=" + files.clientKey,
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + files.serviceAccountKey,
		"--service-account-signing-key-file=" + files.serviceAccountKey,
		"--service-cluster-ip-range=" + settings.services,
		"--tls-cert-file=" + files.certificate,
		"--tls-private-key-file=" + files.key,
		"--token-auth-file=" + files.tokens,
	})
	if err != nil {
		return "", err
	}
	server.SecureServing.Listener = listener
	server.SecureServing.BindPort = listener.Addr().(*net.TCPAddr).Port
	if err := server.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return "", err
	}
	completed, err := server.Complete(context.Background())
	if err != nil {
		return "", err
	}
	if problems := completed.Validate(); len(problems) > 0 {
		return "", errors.Join(problems...)
	}
	go func() { end(fmt.Errorf("kube-apiserver ended: %w", app.Run(context.Background(), completed))) }()
	return "https://" + listener.Addr().String(), nil
}

// parse sets options by the flags of their program, which are documented and checked.
func parse(sets cliflag.NamedFlagSets, args []string) error {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, set := range sets.FlagSets {
		flags.AddFlagSet(set)
	}
	return flags.Parse(args)
}
