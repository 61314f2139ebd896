package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// startAPIServer serves on a free port with the admission plugins that are on by default.
func startAPIServer(files files, etcdURL, services string, end context.CancelCauseFunc) (string, error) {
	// The server is given the listener itself: a port that is only looked up could be taken before it is used.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := options.NewServerRunOptions()
	err = parse(server.Flags(), []string{
		// There is no other address, and no one to find the server by the endpoints of its Service.
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		"--allow-privileged=true",
		"--authorization-mode=RBAC",
		"--bind-address=127.0.0.1",
		"--etcd-servers=" + etcdURL,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + files.serviceAccountKey,
		"--service-account-signing-key-file=" + files.serviceAccountKey,
		"--service-cluster-ip-range=" + services,
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
