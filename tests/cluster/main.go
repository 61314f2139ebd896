// Command cluster is a Kubernetes control plane for tests, in one process: etcd, the API server and the controllers,
// and kubectl to talk to it. There are no nodes, so no pod ever runs.
//
//	cluster run --dir DIR      runs until its standard input ends, or SIGTERM; prints one line of JSON once it is ready
//	cluster kubectl ARGS...    is kubectl; so is the program under the name kubectl
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if filepath.Base(os.Args[0]) == "kubectl" {
		kubectl(os.Args[1:])
		return
	}
	if len(os.Args) < 2 {
		usage()
	}
	switch os.Args[1] {
	case "run":
		if err := run(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "cluster:", err)
			os.Exit(1)
		}
	case "kubectl":
		kubectl(os.Args[2:])
	default:
		usage()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: cluster run --dir DIR | cluster kubectl ARGS...")
	os.Exit(2)
}

func run(args []string) error {
	flags := flag.NewFlagSet("cluster run", flag.ExitOnError)
	dir := flags.String("dir", "", "the `directory` of everything that it writes; at the end, unless by a failure, it is removed with all that it holds")
	services := flags.String("service-cluster-ip-range", "127.128.0.0/16",
		"the `CIDR` of Services; those of the loopback network are reached without a kube-proxy, by who listens on them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *dir == "" {
		return errors.New("--dir is required")
	}
	absolute, err := filepath.Abs(*dir)
	if err != nil {
		return err
	}
	return runCluster(absolute, *services)
}
