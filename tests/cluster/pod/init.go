package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
)

// initialize sets the close-wait timeout first, by the program sysctl, and then redirects, as linkerd-init does. The rules are those that
// decide where a packet goes; rules for what the tests do not use are left out.
func initialize(args []string) error {
	flags := flag.NewFlagSet("linkerd2-proxy-init", flag.ContinueOnError)
	incoming := flags.String("incoming-proxy-port", "", "")
	outgoing := flags.String("outgoing-proxy-port", "", "")
	user := flags.String("proxy-uid", "", "")
	ignored := flags.String("inbound-ports-to-ignore", "", "")
	timeout := flags.Int("timeout-close-wait-secs", 0, "")
	for _, name := range []string{
		"firewall-bin-path", "firewall-save-bin-path", "log-format", "log-level", "outbound-ports-to-ignore", "proxy-gid", "subnets-to-ignore",
	} {
		flags.String(name, "", "")
	}
	flags.Bool("ipv6", true, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *timeout != 0 {
		setting := fmt.Sprintf("net.netfilter.nf_conntrack_tcp_timeout_close_wait=%d", *timeout)
		if output, err := exec.Command("sysctl", "-w", setting).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
	}
	if os.Getuid() != 0 {
		// The real one has file capabilities, which an archive of the tests does not carry.
		fmt.Println("not root: nothing is redirected")
		return nil
	}
	for _, rule := range [][]string{
		{"-A", "PREROUTING", "-p", "tcp", "-m", "multiport", "--dports", *ignored, "-j", "RETURN"},
		{"-A", "PREROUTING", "-p", "tcp", "-j", "REDIRECT", "--to-port", *incoming},
		{"-A", "OUTPUT", "-m", "owner", "--uid-owner", *user, "-j", "RETURN"},
		{"-A", "OUTPUT", "-o", "lo", "-j", "RETURN"},
		{"-A", "OUTPUT", "-p", "tcp", "-j", "REDIRECT", "--to-port", *outgoing},
	} {
		if output, err := exec.Command("iptables", append([]string{"-t", "nat"}, rule...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("iptables %v: %w: %s", rule, err, output)
		}
	}
	return nil
}
