package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// nodeName is the name of the node.
const nodeName = "node-a"

// runContained runs the cluster in network, mount and PID namespaces of its own. With their first process the kernel ends every process in
// them, pods included, and every mount and interface goes. What remains is the directory and the control groups.
func runContained(dir string, args []string) error {
	if err := makeControlGroups(dir); err != nil {
		return fmt.Errorf("cannot make control groups: %w", err)
	}
	ctx, end := context.WithCancelCause(context.Background())
	go watchTheEnd(end)
	// In the network namespace of the caller.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	// The signal of the parent's death comes with the end of the thread that started the child.
	runtime.LockOSThread()
	child := exec.Command("/proc/self/exe", append([]string{"run", "--inside"}, args...)...)
	child.Stdout, child.Stderr, child.ExtraFiles = os.Stdout, os.Stderr, []*os.File{file}
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := child.Start(); err != nil {
		return fmt.Errorf("cannot make namespaces: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	select {
	case err := <-ended:
		removeControlGroups(dir)
		return fmt.Errorf("the node ended: %w", err)
	case <-ctx.Done():
		_ = child.Process.Kill()
		<-ended
		removeControlGroups(dir)
		return removeAll(dir)
	}
}

// controlGroup is the parent of those of the pods; its name is that of the directory.
func controlGroup(dir string) string { return filepath.Base(dir) }

// hierarchies are the roots of control groups: one of version 2, or several of version 1.
func hierarchies() []string {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return []string{root}
	}
	files, _ := filepath.Glob(filepath.Join(root, "*", "cgroup.procs"))
	for i, file := range files {
		files[i] = filepath.Dir(file)
	}
	return files
}

// makeControlGroups makes the parents of those of the pods.
func makeControlGroups(dir string) error {
	for _, root := range hierarchies() {
		group := filepath.Join(root, controlGroup(dir))
		if err := os.MkdirAll(group, 0o755); err != nil {
			return err
		}
		// In a group of version 1 no process may run before it has processors and memory.
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			if value, err := os.ReadFile(filepath.Join(root, name)); err == nil {
				if err := os.WriteFile(filepath.Join(group, name), value, 0o644); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// removeControlGroups removes those of the pods, in which no process is left.
func removeControlGroups(dir string) {
	for _, root := range hierarchies() {
		root = filepath.Join(root, controlGroup(dir))
		var groups []string
		_ = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				groups = append(groups, path)
			}
			return nil
		})
		for last := len(groups) - 1; last >= 0; last-- {
			_ = syscall.Rmdir(groups[last])
		}
	}
}

// runInside runs the cluster as the first process of its namespaces, until it is killed or a part ends for good.
func runInside(settings settings) error {
	ctx, end := context.WithCancelCause(context.Background())
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	if err := isolateFiles(settings.dir); err != nil {
		return err
	}
	if err := configureNetwork(); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	settings.services, settings.address = nodeServices, nodeAddress
	settings.outside = "https://" + listener.Addr().String()
	go func() { end(forward(listener, net.JoinHostPort(nodeAddress, apiServerPort))) }()
	return serve(ctx, end, settings)
}

// isolateFiles gives the processes a /proc of their own, and lets nothing that they write below /run and /var stay.
func isolateFiles(dir string) error {
	upper, work := filepath.Join(dir, "var"), filepath.Join(dir, "var-work")
	for _, path := range []string{upper, work} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	overlay := fmt.Sprintf("lowerdir=/var,upperdir=%s,workdir=%s", upper, work)
	return errors.Join(
		syscall.Mount("", "/", "", syscall.MS_PRIVATE|syscall.MS_REC, ""),
		// Containers take their part of it where they ask for that.
		syscall.Mount("", "/", "", syscall.MS_SHARED|syscall.MS_REC, ""),
		syscall.Mount("proc", "/proc", "proc", 0, ""),
		syscall.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"),
		syscall.Mount("overlay", "/var", "overlay", 0, overlay),
	)
}

// node is what its programs need to know of each other.
type node struct {
	settings
	files files
	// kubeconfig is one for this network namespace.
	kubeconfig string
}

func (n node) path(name string) string { return filepath.Join(n.dir, name) }
func (n node) socket() string          { return "/run/containerd/containerd.sock" }

// startNode starts the programs of a node, and waits until it is ready for pods.
func startNode(ctx context.Context, client kubernetes.Interface, node node) error {
	if len(node.images) == 0 || node.containerd == "" {
		return errors.New("a node needs --containerd and --image")
	}
	sandbox, err := reference(node.images[0])
	if err != nil {
		return err
	}
	if err := node.writeConfigurations(sandbox); err != nil {
		return err
	}
	path := "PATH=" + node.containerd + ":" + os.Getenv("PATH") + ":/usr/sbin:/sbin"
	node.keepRunning("containerd", []string{path}, filepath.Join(node.containerd, "containerd"), "--config", node.path("containerd.toml"))
	for _, archive := range node.images {
		if err := eventually(ctx, func(context.Context) error { return node.load(archive) }); err != nil {
			return err
		}
	}
	const self = "/proc/self/exe"
	node.keepRunning("kubelet", []string{path}, self, "kubelet", "--config", node.path("kubelet.json"), "--kubeconfig", node.kubeconfig,
		"--root-dir", node.path("kubelet"), "--cert-dir", node.path("pki"), "--hostname-override", nodeName, "--node-ip", nodeAddress)
	node.keepRunning("kube-proxy", []string{path}, self, "kube-proxy", "--config", node.path("kube-proxy.json"), "--hostname-override", nodeName)
	node.keepRunning("kube-scheduler", []string{path}, self, "kube-scheduler", "--kubeconfig", node.kubeconfig, "--leader-elect=false",
		"--authentication-skip-lookup=true", "--secure-port=0")
	return eventually(ctx, func(ctx context.Context) error { return nodeIsReady(ctx, client) })
}

func (n node) writeConfigurations(sandbox string) error {
	for _, dir := range []string{"cni", "pods", "pod-logs", "kubelet"} {
		if err := os.MkdirAll(n.path(dir), 0o755); err != nil {
			return err
		}
	}
	containerd := fmt.Sprintf(`version = 3
root = %q
state = %q
[grpc]
  address = %q
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = %q
[plugins.'io.containerd.cri.v1.runtime']
  # Without CAP_SYS_RESOURCE runc cannot lower it.
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni", "/opt/cni/bin"]
    conf_dir = %q
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.settings]
      SystemdCgroup = false
`, n.path("containerd"), "/run/containerd-state", n.socket(), sandbox, n.path("cni"))
	if err := os.WriteFile(n.path("containerd.toml"), []byte(containerd), 0o644); err != nil {
		return err
	}
	type object = map[string]any
	configurations := map[string]object{
		"cni/node.conflist": {
			"cniVersion": "1.0.0", "name": "node",
			"plugins": []object{{
				"type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": false,
				"ipam": object{
					"type": "host-local", "ranges": [][]object{{{"subnet": podNetwork}}}, "routes": []object{{"dst": "0.0.0.0/0"}},
				},
			}, {"type": "portmap", "capabilities": object{"portMappings": true}}},
		},
		"kubelet.json": {
			"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
			"address": "0.0.0.0", "readOnlyPort": 0,
			"authentication": object{
				"anonymous": object{"enabled": false}, "webhook": object{"enabled": false}, "x509": object{"clientCAFile": n.files.ca},
			},
			"authorization": object{"mode": "AlwaysAllow"},
			"cgroupDriver":  "cgroupfs",
			// Nothing answers there; without an address each pod gets an event about it.
			"clusterDNS":               []string{clusterDNS},
			"cgroupRoot":               "/" + controlGroup(n.dir),
			"containerRuntimeEndpoint": "unix://" + n.socket(),
			"enforceNodeAllocatable":   []string{},
			// The tests ask about pods and not about the machine.
			"evictionHard":                  object{"imagefs.available": "1%", "nodefs.available": "1%", "memory.available": "50Mi"},
			"failCgroupV1":                  false,
			"failSwapOn":                    false,
			"localStorageCapacityIsolation": false,
			"makeIPTablesUtilChains":        false,
			"podLogsDir":                    n.path("pod-logs"),
			"registerWithTaints":            []string{},
			"staticPodPath":                 n.path("pods"),
			"allowedUnsafeSysctls":          []string{"net.netfilter.*"},
		},
		"kube-proxy.json": {
			"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
			"mode": "iptables", "clusterCIDR": podNetwork,
			"clientConnection": object{"kubeconfig": n.kubeconfig},
			// They are of the whole machine.
			"conntrack": object{"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
		},
	}
	for name, configuration := range configurations {
		text, err := json.Marshal(configuration)
		if err != nil {
			return err
		}
		if err := os.WriteFile(n.path(name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// keepRunning starts a program again whenever it ends, as an init system does. It writes to a log below the directory.
func (n node) keepRunning(name string, environment []string, program string, args ...string) {
	go func() {
		for {
			log, err := os.OpenFile(n.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
			if err != nil {
				fmt.Fprintln(os.Stderr, "cluster:", err)
				return
			}
			command := exec.Command(program, args...)
			command.Env = append(os.Environ(), environment...)
			command.Stdout, command.Stderr = log, log
			err = command.Run()
			fmt.Fprintf(log, "%s ended: %v\n", name, err)
			_ = log.Close()
			time.Sleep(time.Second)
		}
	}()
}

// load gives containerd the images of an archive.
func (n node) load(archive string) error {
	command := exec.Command(filepath.Join(n.containerd, "ctr"), "--address", n.socket(), "--namespace", "k8s.io", "images", "import", archive)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot import %s: %w: %s", archive, err, strings.TrimSpace(string(output)))
	}
	return nil
}

// nodeIsReady takes away the taint that the node lifecycle controller, which does not run here, would.
func nodeIsReady(ctx context.Context, client kubernetes.Interface) error {
	node, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	ready := false
	for _, condition := range node.Status.Conditions {
		ready = ready || condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue
	}
	if !ready {
		return errors.New("the node is not ready")
	}
	if len(node.Spec.Taints) > 0 {
		node.Spec.Taints = nil
		_, err = client.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{})
	}
	return err
}
