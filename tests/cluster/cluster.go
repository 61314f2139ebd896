package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// patience is longer than any start takes on a loaded machine.
const patience = 2 * time.Minute

// ready is what is printed once the cluster is.
type ready struct {
	Server     string `json:"server"`
	CAFile     string `json:"caFile"`
	Kubeconfig string `json:"kubeconfig"`
	Token      string `json:"token"`
}

// settings are what a cluster is run with.
type settings struct {
	dir, services string
	// address is that of the API server; on loopback there are no nodes that could reach it.
	address string
	// outside is the URL of the API server for clients in other network namespaces.
	outside string

	node       bool
	containerd string
	images     list
}

// runCluster runs a cluster until the end of standard input, a signal, or the failure of a part. Nothing in dir is of use
// afterwards, so no part is stopped in order: the process ends. After a failure dir stays, for whoever asks why.
func runCluster(settings settings) error {
	ctx, end := context.WithCancelCause(context.Background())
	go watchTheEnd(end)
	settings.address = loopback
	err := serve(ctx, end, settings)
	if errors.Is(err, errEnded) {
		return removeAll(settings.dir)
	}
	return err
}

// serve starts the parts one after the other, says that they are ready, and returns the cause of the end.
func serve(ctx context.Context, end context.CancelCauseFunc, settings settings) error {
	if err := os.MkdirAll(settings.dir, 0o700); err != nil {
		return err
	}
	files, err := writeFiles(settings.dir)
	if err != nil {
		return err
	}
	etcdURL, err := startEtcd(filepath.Join(settings.dir, "etcd"), end)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	server, err := startAPIServer(files, etcdURL, settings, end)
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	kubeconfig := filepath.Join(settings.dir, "kubeconfig-inside")
	if err := writeKubeconfig(kubeconfig, files, server); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(rest.AddUserAgent(config, "cluster"))
	if err != nil {
		return err
	}
	if err := eventually(ctx, func(ctx context.Context) error { return apiServerIsReady(ctx, client) }); err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	if err := startControllers(files, kubeconfig, end); err != nil {
		return fmt.Errorf("kube-controller-manager: %w", err)
	}
	if err := eventually(ctx, func(ctx context.Context) error { return controllersAreReady(ctx, client) }); err != nil {
		return fmt.Errorf("kube-controller-manager: %w", err)
	}
	if settings.node {
		if err := startNode(ctx, client, node{settings: settings, files: files, kubeconfig: kubeconfig}); err != nil {
			return fmt.Errorf("node: %w", err)
		}
	}
	if settings.outside != "" {
		server = settings.outside
	}
	if err := writeKubeconfig(files.kubeconfig, files, server); err != nil {
		return err
	}
	line := ready{Server: server, CAFile: files.ca, Kubeconfig: files.kubeconfig, Token: files.token}
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		return err
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// removeAll removes dir, into which etcd may be writing just now.
func removeAll(dir string) error {
	err := os.RemoveAll(dir)
	for attempt := 0; err != nil && attempt < 10; attempt++ {
		time.Sleep(10 * time.Millisecond)
		err = os.RemoveAll(dir)
	}
	return err
}

// errEnded says that the cluster was told to end.
var errEnded = errors.New("told to end")

// watchTheEnd waits for the end of standard input, which also comes when the process that started this one dies.
func watchTheEnd(end context.CancelCauseFunc) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		end(errEnded)
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	end(errEnded)
}

// eventually polls until there is no error.
func eventually(ctx context.Context, attempt func(context.Context) error) error {
	deadline, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := attempt(deadline)
		if err == nil {
			return nil
		}
		select {
		case <-deadline.Done():
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("not ready after %s: %w", patience, err)
		case <-tick.C:
		}
	}
}

func apiServerIsReady(ctx context.Context, client kubernetes.Interface) error {
	return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

// controllersAreReady looks for the ServiceAccount that every pod needs, and the ConfigMap that it mounts.
func controllersAreReady(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
	if err != nil {
		return err
	}
	_, err = client.CoreV1().ConfigMaps("default").Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
	return err
}

func writeKubeconfig(path string, files files, server string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: server, CertificateAuthority: files.ca}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{Token: files.token}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "admin", Namespace: "default"}
	config.CurrentContext = "test"
	return clientcmd.WriteToFile(*config, path)
}
