// A webhook on controller-runtime, written as its documentation shows: the pod is decoded, changed and encoded, and the
// patch is the difference between the two encodings.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"strconv"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"linkerd-linger/benches/load/closewait"
)

type mutator struct{ decoder admission.Decoder }

func (m mutator) Handle(_ context.Context, request admission.Request) admission.Response {
	var pod corev1.Pod
	if err := m.decoder.Decode(request, &pod); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	closewait.Set(&pod)
	changed, err := json.Marshal(&pod)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(request.Object.Raw, changed)
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8443", "address of the webhook")
	cert := flag.String("tls-cert", "", "certificate in PEM")
	key := flag.String("tls-key", "", "private key in PEM, in the folder of the certificate")
	flag.Parse()
	ctrllog.SetLogger(logr.Discard())

	host, portText, err := net.SplitHostPort(*listen)
	if err != nil {
		log.Fatal(err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		log.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		log.Fatal(err)
	}
	server := webhook.NewServer(webhook.Options{
		Host:     host,
		Port:     port,
		CertDir:  filepath.Dir(*cert),
		CertName: filepath.Base(*cert),
		KeyName:  filepath.Base(*key),
	})
	server.Register("/mutate/enforce", &admission.Webhook{Handler: mutator{admission.NewDecoder(scheme)}})
	log.Fatal(server.Start(context.Background()))
}
