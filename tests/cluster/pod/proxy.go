package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	inboundAddress  = ":4143"
	outboundAddress = ":4140"
	adminAddress    = ":4191"
	poolVariable    = "LINKERD2_PROXY_INBOUND_HTTP1_CONNECTION_POOL_IDLE_TIMEOUT"
	opaqueVariable  = "LINKERD2_PROXY_INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION"
	// defaultPool is Linkerd's since 2.11.5 and 2.12.1.
	defaultPool = 3 * time.Second
)

// originalDestination is the key of a connection's own address before it was redirected.
type originalDestination struct{}

// proxy relays HTTP with pooled connections, and TCP on opaque ports and outwards, as Linkerd's proxy does.
func proxy([]string) error {
	pool := defaultPool
	if text := os.Getenv(poolVariable); text != "" {
		var err error
		if pool, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("%s: %w", poolVariable, err)
		}
	}
	inbound, err := net.Listen("tcp", inboundAddress)
	if err != nil {
		return err
	}
	outbound, err := net.Listen("tcp", outboundAddress)
	if err != nil {
		return err
	}
	detected := make(chan net.Conn)
	opaque := ports(os.Getenv(opaqueVariable))
	go accept(inbound, func(client *net.TCPConn, destination *net.TCPAddr) {
		// The app is reached by the loopback interface, on which nothing is redirected.
		if opaque(destination.Port) {
			relay(client, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: destination.Port})
			return
		}
		detected <- client
	})
	go accept(outbound, func(client *net.TCPConn, destination *net.TCPAddr) { relay(client, destination) })
	server := http.Server{
		Handler: pooled(pool),
		ConnContext: func(ctx context.Context, client net.Conn) context.Context {
			destination, err := original(client.(*net.TCPConn))
			if err != nil {
				return ctx
			}
			return context.WithValue(ctx, originalDestination{}, destination)
		},
	}
	go func() { _ = server.Serve(&channel{inbound, detected}) }()
	admin := http.HandlerFunc(func(response http.ResponseWriter, _ *http.Request) { fmt.Fprintln(response, "ok") })
	go func() { _ = http.ListenAndServe(adminAddress, admin) }()
	return nil
}

// pooled forwards requests over connections that idle for at most this time.
func pooled(idle time.Duration) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) {
			destination, _ := request.In.Context().Value(originalDestination{}).(*net.TCPAddr)
			request.Out.URL.Scheme = "http"
			if destination != nil {
				request.Out.URL.Host = fmt.Sprintf("127.0.0.1:%d", destination.Port)
			}
			// With a body, even an empty one, Go does not repeat a request that was written to a closed connection. Nor does hyper.
			request.Out.Body = io.NopCloser(strings.NewReader(""))
		},
		Transport: &http.Transport{IdleConnTimeout: idle},
		ErrorHandler: func(response http.ResponseWriter, _ *http.Request, err error) {
			fmt.Fprintln(os.Stderr, "unexpected error:", err)
			response.WriteHeader(http.StatusInternalServerError)
		},
	}
}

// ports reads a list of ports and ranges of them; names are skipped.
func ports(list string) func(int) bool {
	type span struct{ first, last int }
	var spans []span
	for _, part := range strings.Split(list, ",") {
		first, last, is := strings.Cut(strings.TrimSpace(part), "-")
		if !is {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, other := strconv.Atoi(last)
		if err == nil && other == nil {
			spans = append(spans, span{from, to})
		}
	}
	return func(port int) bool {
		for _, span := range spans {
			if span.first <= port && port <= span.last {
				return true
			}
		}
		return false
	}
}

// channel is a listener of connections that were accepted elsewhere.
type channel struct {
	net.Listener
	connections <-chan net.Conn
}

func (c *channel) Accept() (net.Conn, error) { return <-c.connections, nil }

func accept(listener net.Listener, use func(*net.TCPConn, *net.TCPAddr)) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			destination, err := original(client.(*net.TCPConn))
			if err != nil {
				_ = client.Close()
				return
			}
			use(client.(*net.TCPConn), destination)
		}()
	}
}

// relay passes bytes both ways, and the end of each way on.
func relay(client *net.TCPConn, destination *net.TCPAddr) {
	server, err := net.DialTCP("tcp", nil, destination)
	if err != nil {
		_ = client.Close()
		return
	}
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.CloseWrite()
		close(done)
	}()
	_, _ = io.Copy(client, server)
	_ = client.CloseWrite()
	<-done
	_, _ = client.Close(), server.Close()
}

// original asks the kernel where a redirected IPv4 connection went (SO_ORIGINAL_DST, linux/netfilter_ipv4.h).
func original(connection *net.TCPConn) (*net.TCPAddr, error) {
	const option = 80
	raw, err := connection.SyscallConn()
	if err != nil {
		return nil, err
	}
	var address *syscall.IPv6Mreq
	var failure error
	err = raw.Control(func(fd uintptr) {
		// A struct sockaddr_in fits into the buffer of this call.
		address, failure = syscall.GetsockoptIPv6Mreq(int(fd), syscall.IPPROTO_IP, option)
	})
	if err != nil {
		return nil, err
	}
	if failure != nil {
		return nil, failure
	}
	bytes := address.Multiaddr
	return &net.TCPAddr{IP: net.IPv4(bytes[4], bytes[5], bytes[6], bytes[7]), Port: int(bytes[2])<<8 | int(bytes[3])}, nil
}
