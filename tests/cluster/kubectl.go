package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

// kubectl does what main in k8s.io/kubernetes/cmd/kubectl does. The command reads os.Args itself in places.
func kubectl(args []string) {
	os.Args = append([]string{"kubectl"}, args...)
	// An unreadable verbosity is reported by the command.
	_, _ = logs.GlogSetter(cmd.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
