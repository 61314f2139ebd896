package main

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// serve answers every request, and closes a connection that idles. For a moment before that it does not read, as a server does whose
// processor is taken away from it: a request that comes then is lost.
func serve(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	address := flags.String("listen", ":8080", "")
	idle := flags.Duration("idle", time.Minute, "")
	deaf := flags.Duration("deaf", 0, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			go answer(client, *idle, *deaf)
		}
	}()
	return nil
}

func answer(client net.Conn, idle, deaf time.Duration) {
	defer client.Close()
	reader := bufio.NewReader(client)
	for {
		_ = client.SetReadDeadline(time.Now().Add(idle - deaf/2))
		request, err := http.ReadRequest(reader)
		if err != nil {
			time.Sleep(deaf)
			return
		}
		_ = request.Body.Close()
		const body = "hello\n"
		if _, err := fmt.Fprintf(client, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil || request.Close {
			return
		}
	}
}

// leaveOpen reads what clients send, and neither answers nor closes.
func leaveOpen(args []string) error {
	flags := flag.NewFlagSet("leave-open", flag.ContinueOnError)
	address := flags.String("listen", ":5432", "")
	half := flags.Int("connect", 0, "also connect to itself, so many times, and close the client's side")
	if err := flags.Parse(args); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}
	// What is reachable is not closed by the garbage collector.
	var open []net.Conn
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			open = append(open, client)
		}
	}()
	for range *half {
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		if err := client.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
		halfClosed = append(halfClosed, client)
	}
	return nil
}

// halfClosed keeps the clients.
var halfClosed []net.Conn
