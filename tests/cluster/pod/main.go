// Command pod is every program of the tests' pods, by the name under which it is started:
//
//	pause                        waits
//	serve                        an HTTP server that closes idle connections
//	leave-open                   a TCP server that never closes its side
//	linkerd2-proxy               relays what is redirected to it, and keeps connections to the app in a pool
//	linkerd2-proxy-init          takes linkerd-init's flags, and redirects as it does
//	linkerd-await                returns
//	replay                       writes a proxy's log, and serves its metrics
//	cat FILE                     prints a file
//	sysctl -w NAME=VALUE         what linkerd-init runs
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	if name == "pod" && len(args) > 0 {
		name, args = args[0], args[1:]
	}
	programs := map[string]func([]string) error{
		"pause":               func([]string) error { return nil },
		"serve":               serve,
		"leave-open":          leaveOpen,
		"linkerd2-proxy":      proxy,
		"linkerd2-proxy-init": func(args []string) error { return finish(initialize(args)) },
		"linkerd-await":       func([]string) error { return finish(nil) },
		"replay":              replay,
		"cat":                 func(args []string) error { return finish(cat(args)) },
		"sysctl":              func(args []string) error { return finish(sysctl(args)) },
	}
	program := programs[name]
	if program == nil {
		program = func([]string) error { return fmt.Errorf("no program of this name") }
	}
	if err := program(args); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	<-signals
}

// finish ends a program that does not wait for a signal.
func finish(err error) error {
	if err == nil {
		os.Exit(0)
	}
	return err
}

func cat(args []string) error {
	for _, name := range args {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := os.Stdout.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// sysctl writes a setting, and fails as the real one does where it may not.
func sysctl(args []string) error {
	if len(args) != 2 || args[0] != "-w" {
		return fmt.Errorf("usage: sysctl -w NAME=VALUE")
	}
	name, value, _ := strings.Cut(args[1], "=")
	return os.WriteFile("/proc/sys/"+strings.ReplaceAll(name, ".", "/"), []byte(value), 0o644)
}
