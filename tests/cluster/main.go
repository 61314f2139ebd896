// Command cluster is a Kubernetes cluster for tests.
//
//	cluster run --dir DIR            runs a control plane in one process: etcd, the API server and the controllers
//	cluster run --dir DIR --node     runs it with a node (kubelet, containerd, kube-proxy, scheduler) in namespaces of its own
//	cluster kubectl ARGS...          is kubectl; so is the program under the name kubectl
//	cluster image FLAGS...           writes a container image as an archive
//
// `run` ends when its standard input ends, or by SIGTERM. It prints one line of JSON once the cluster is ready.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if filepath.Base(os.Args[0]) == "kubectl" {
		kubectl(os.Args[1:])
		return
	}
	if len(os.Args) < 2 {
		usage()
	}
	command, args := os.Args[1], os.Args[2:]
	switch command {
	case "run":
		exit(run(args))
	case "image":
		exit(image(args))
	case "kubectl":
		kubectl(args)
	default:
		if !component(command, args) {
			usage()
		}
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: cluster run --dir DIR [--node] | cluster kubectl ARGS... | cluster image FLAGS...")
	os.Exit(2)
}

// list is a flag that may be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

func run(args []string) error {
	flags := flag.NewFlagSet("cluster run", flag.ExitOnError)
	var settings settings
	dir := flags.String("dir", "", "the `directory` of everything that it writes; at the end, unless by a failure, it is removed with all that it holds")
	flags.StringVar(&settings.services, "service-cluster-ip-range", "127.128.0.0/16",
		"the `CIDR` of Services; those of the loopback network are reached without a kube-proxy, by who listens on them")
	flags.BoolVar(&settings.node, "node", false, "run a node too; takes root")
	flags.StringVar(&settings.containerd, "containerd", "", "the `directory` of containerd's programs")
	flags.Var(&settings.images, "image", "the `archive` of images that the node has; may be repeated, and the first is that of pods' sandboxes")
	inside := flags.Bool("inside", false, "run in the namespaces of this process")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *dir == "" {
		return errors.New("--dir is required")
	}
	var err error
	if settings.dir, err = filepath.Abs(*dir); err != nil {
		return err
	}
	switch {
	case *inside:
		return runInside(settings)
	case settings.node:
		return runContained(settings.dir, args)
	default:
		return runCluster(settings)
	}
}
