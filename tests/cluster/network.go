package main

import (
	"io"
	"net"
	"os"

	"github.com/vishvananda/netlink"
)

const (
	// nodeAddress is the only address of the node, and of the API server, in their network namespace.
	nodeAddress = "10.79.0.1"
	// apiServerPort is free in a network namespace of our own.
	apiServerPort = "6443"
	// podNetwork has an address for each of more pods than a kubelet runs.
	podNetwork = "10.78.0.0/24"
	// nodeServices is a network that is reached by kube-proxy's rules.
	nodeServices = "10.96.0.0/16"
	// firstService is the address of the Service kubernetes.
	firstService = "10.96.0.1"
	// clusterDNS is where clusters usually have their name server.
	clusterDNS = "10.96.0.10"
)

// configureNetwork gives a new network namespace a loopback interface, the node's address, a default route, without which nothing is sent to
// Services, and forwarding between pods.
func configureNetwork() error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return err
	}
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "node0"}, PeerName: "node1"}
	if err := netlink.LinkAdd(pair); err != nil {
		return err
	}
	address, err := netlink.ParseAddr(nodeAddress + "/24")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(pair, address); err != nil {
		return err
	}
	for _, name := range []string{"node0", "node1"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: pair.Index, Scope: netlink.SCOPE_LINK, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}}); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
}

// forward passes the connections of a listener, which may be of another network namespace, to an address of this one.
func forward(listener net.Listener, address string) error {
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer client.Close()
			server, err := net.Dial("tcp", address)
			if err != nil {
				return
			}
			defer server.Close()
			go func() {
				_, _ = io.Copy(server, client)
				_ = server.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(client, server)
		}()
	}
}
