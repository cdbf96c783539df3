package testbed

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// ClusterOptions are the choices of StartCluster.
type ClusterOptions struct {
	EtcdMetrics string // host:port where etcd serves its own /metrics as well; empty means nowhere
}

// A Cluster is a real API server on a real etcd, without nodes or controllers.
type Cluster struct {
	Server string               // https://127.0.0.1:PORT
	Etcd   string               // http://127.0.0.1:PORT, also of its metrics
	Client kubernetes.Interface // of the administrator, without a rate limit
	Admin  User                 // may do everything
	Proxy  User                 // may get, list and watch pods everywhere, and nothing else

	bed         *Bed
	credentials *credentials
	port        int
	apiServer   *Process
}

// StartCluster starts etcd and kube-apiserver and returns when the latter is ready.
func (b *Bed) StartCluster(ctx context.Context, options ClusterOptions) (*Cluster, error) {
	etcd, err := b.startEtcd(ctx, options.EtcdMetrics)
	if err != nil {
		return nil, fmt.Errorf("cannot start a cluster: %w", err)
	}
	port, err := FreePort()
	if err != nil {
		return nil, fmt.Errorf("cannot start a cluster: %w", err)
	}
	credentials, err := newCredentials(b.Dir)
	if err != nil {
		return nil, fmt.Errorf("cannot start a cluster: %w", err)
	}
	c := &Cluster{
		Server: "https://127.0.0.1:" + strconv.Itoa(port), Admin: credentials.admin,
		Etcd: etcd, bed: b, credentials: credentials, port: port,
	}
	c.Client, err = kubernetes.NewForConfig(&rest.Config{
		Host: c.Server, BearerToken: c.Admin.Token, QPS: -1, Timeout: time.Minute,
		TLSClientConfig: rest.TLSClientConfig{CAData: credentials.certificate},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot start a cluster: %w", err)
	}
	if err := c.StartServer(ctx); err != nil {
		return nil, err
	}
	c.Proxy, err = c.NewUser(ctx, "proxy", Grant{Rules: PodRules("get", "list", "watch")})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (b *Bed) startEtcd(ctx context.Context, metrics string) (url string, err error) {
	binary, err := Binary(ctx, "etcd", b.progress)
	if err != nil {
		return "", err
	}
	clients, err := FreePort()
	if err != nil {
		return "", err
	}
	peers, err := FreePort()
	if err != nil {
		return "", err
	}
	url = "http://127.0.0.1:" + strconv.Itoa(clients)
	peerURL := "http://127.0.0.1:" + strconv.Itoa(peers)
	args := []string{
		"--data-dir=" + filepath.Join(b.Dir, "etcd"),
		"--listen-client-urls=" + url, "--advertise-client-urls=" + url,
		"--listen-peer-urls=" + peerURL, "--initial-advertise-peer-urls=" + peerURL,
		"--initial-cluster=default=" + peerURL,
		"--unsafe-no-fsync", "--log-level=warn",
	}
	if metrics != "" {
		args = append(args, "--listen-metrics-urls=http://"+metrics)
	}
	process, err := b.Start(Command{Name: "etcd", Path: binary, Args: args})
	if err != nil {
		return "", err
	}
	return url, process.comesUp(ctx, readyBound, answersOK(url+"/health"))
}

// StartServer starts the API server again after StopServer, at the same address and
// with the same data. It returns when the server is ready.
func (c *Cluster) StartServer(ctx context.Context) error {
	binary, err := Binary(ctx, "kube-apiserver", c.bed.progress)
	if err != nil {
		return fmt.Errorf("cannot start the API server: %w", err)
	}
	c.apiServer, err = c.bed.Start(Command{Name: "kube-apiserver", Path: binary, Args: []string{
		"--etcd-servers=" + c.Etcd,
		// The address that it tells others must not depend on this machine's network;
		// a loopback one is refused as an endpoint of the kubernetes service.
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
		"--secure-port=" + strconv.Itoa(c.port),
		"--tls-cert-file=" + c.credentials.certificateFile,
		"--tls-private-key-file=" + c.credentials.keyFile,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.credentials.signingKeyFile,
		"--service-account-signing-key-file=" + c.credentials.signingKeyFile,
		"--token-auth-file=" + c.credentials.tokenFile,
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range=10.0.0.0/24",
		"--disable-admission-plugins=ServiceAccount", // it would demand an account of each pod
	}})
	if err != nil {
		return err
	}
	err = c.apiServer.comesUp(ctx, readyBound, c.ready)
	if err != nil {
		return fmt.Errorf("cannot start the API server: %w", err)
	}
	return nil
}

// StopServer ends the API server; its data stay in etcd.
func (c *Cluster) StopServer() error {
	_, err := c.apiServer.Stop(stopBound)
	return err
}

func (c *Cluster) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var status int
	body, err := c.Client.CoreV1().RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&status).Raw()
	if err != nil {
		return err
	}
	if status != http.StatusOK || string(body) != "ok" {
		return fmt.Errorf("/readyz answered %d %.200q", status, body)
	}
	return nil
}

// writeSecret writes a file that only this user may read.
func writeSecret(path string, content []byte) error {
	return os.WriteFile(path, content, 0o600)
}
