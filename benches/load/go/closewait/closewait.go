// Package closewait finds the init container of Linkerd, and has it set the close-wait timeout.
package closewait

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

const flag, seconds = "--timeout-close-wait-secs", "3600"

// Operation is one operation of a JSON Patch.
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// Patch returns the operations that set the timeout: none without linkerd-init, or if the timeout is set.
func Patch(pod *corev1.Pod) []Operation {
	at, found := find(pod)
	if !found {
		return nil
	}
	container := fmt.Sprintf("/spec/initContainers/%d", at)
	add := func(path string, value any) Operation { return Operation{"add", container + path, value} }
	return []Operation{
		add("/args/-", flag),
		add("/args/-", seconds),
		add("/securityContext/privileged", true),
		add("/securityContext/allowPrivilegeEscalation", true),
		add("/securityContext/runAsUser", 0),
		add("/securityContext/runAsNonRoot", false),
	}
}

// Set sets the timeout in the pod itself.
func Set(pod *corev1.Pod) {
	at, found := find(pod)
	if !found {
		return
	}
	container := &pod.Spec.InitContainers[at]
	container.Args = append(container.Args, flag, seconds)
	yes, no, root := true, false, int64(0)
	container.SecurityContext.Privileged = &yes
	container.SecurityContext.AllowPrivilegeEscalation = &yes
	container.SecurityContext.RunAsUser = &root
	container.SecurityContext.RunAsNonRoot = &no
}

func find(pod *corev1.Pod) (int, bool) {
	for at, container := range pod.Spec.InitContainers {
		if container.Name != "linkerd-init" || container.SecurityContext == nil {
			continue
		}
		for _, arg := range container.Args {
			if arg == flag {
				return 0, false
			}
		}
		return at, true
	}
	return 0, false
}
