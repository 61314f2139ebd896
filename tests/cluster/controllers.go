package main

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
)

// controllers are those that make, own and clean up workloads. The others wait for nodes, volumes or certificates.
var controllers = []string{
	names.ClusterRoleAggregationController,
	names.CronJobController,
	names.DaemonSetController,
	names.DeploymentController,
	names.DisruptionController,
	names.EndpointSliceController,
	names.EndpointsController,
	names.GarbageCollectorController,
	names.JobController,
	names.NamespaceController,
	names.ReplicaSetController,
	names.ReplicationControllerController,
	names.ResourceQuotaController,
	names.RootCACertificatePublisherController,
	names.ServiceAccountController,
	names.ServiceAccountTokenController,
	names.StatefulSetController,
	names.TTLAfterFinishedController,
}

// startControllers runs them each as its own ServiceAccount, as clusters do, without a port.
func startControllers(files files, kubeconfig string, end context.CancelCauseFunc) error {
	manager, err := options.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	err = parse(manager.Flags(app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases()), []string{
		"--controllers=" + strings.Join(controllers, ","),
		"--kubeconfig=" + kubeconfig,
		"--leader-elect=false",
		"--root-ca-file=" + files.ca,
		"--secure-port=0",
		"--service-account-private-key-file=" + files.serviceAccountKey,
		"--use-service-account-credentials=true",
	})
	if err != nil {
		return err
	}
	ctx := context.Background()
	config, err := manager.Config(ctx, app.KnownControllers(), app.ControllersDisabledByDefault(), app.ControllerAliases())
	if err != nil {
		return err
	}
	go func() { end(fmt.Errorf("kube-controller-manager ended: %w", app.Run(ctx, config.Complete()))) }()
	return nil
}
