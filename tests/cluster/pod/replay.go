package main

import (
	"flag"
	"io"
	"net/http"
	"os"
)

// replay plays a recorded proxy: it writes a log once, and serves a page of metrics at the admin port.
func replay(args []string) error {
	flags := flag.NewFlagSet("replay", flag.ContinueOnError)
	log := flags.String("log", "", "the log to write")
	metrics := flags.String("metrics", "", "the page of metrics to serve")
	if err := flags.Parse(args); err != nil {
		return err
	}
	file, err := os.Open(*log)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(os.Stdout, file); err != nil {
		return err
	}
	http.HandleFunc("/metrics", func(response http.ResponseWriter, request *http.Request) {
		http.ServeFile(response, request, *metrics)
	})
	return http.ListenAndServe(adminAddress, nil)
}
