// A webhook on net/http, written as most Go webhooks are: it decodes the review and its pod into the Kubernetes types,
// and answers with the patch that linkerd-linger makes for linkerd-init.
package main

import (
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"linkerd-linger/benches/load/closewait"
)

// The same limit as linkerd-linger and controller-runtime.
const longestBody = 7 * 1024 * 1024

func main() {
	listen := flag.String("listen", "127.0.0.1:8443", "address of the webhook")
	cert := flag.String("tls-cert", "", "certificate in PEM")
	key := flag.String("tls-key", "", "private key in PEM")
	flag.Parse()
	http.HandleFunc("POST /mutate/enforce", mutate)
	log.Fatal(http.ListenAndServeTLS(*listen, *cert, *key, nil))
}

func mutate(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, longestBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil || review.Request == nil {
		http.Error(w, "the body is not an AdmissionReview", http.StatusBadRequest)
		return
	}
	var pod corev1.Pod
	if err := json.Unmarshal(review.Request.Object.Raw, &pod); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	if operations := closewait.Patch(&pod); len(operations) > 0 {
		patch, err := json.Marshal(operations)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		patchType := admissionv1.PatchTypeJSONPatch
		answer.Patch, answer.PatchType = patch, &patchType
	}
	out, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: answer})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(out)
}
