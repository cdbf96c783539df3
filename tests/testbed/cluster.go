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

	bed                    *Bed
	credentials            *credentials
	port                   int
	etcdPeers, etcdMetrics string
	etcd, apiServer        *Process
}

// StartCluster starts etcd and kube-apiserver and returns when the latter is ready.
func (b *Bed) StartCluster(ctx context.Context, options ClusterOptions) (*Cluster, error) {
	c, err := b.newCluster(options)
	if err != nil {
		return nil, fmt.Errorf("cannot start a cluster: %w", err)
	}
	if err := c.StartEtcd(ctx); err != nil {
		return nil, err
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

func (b *Bed) newCluster(options ClusterOptions) (*Cluster, error) {
	var ports [3]int
	for i := range ports {
		var err error
		if ports[i], err = FreePort(); err != nil {
			return nil, err
		}
	}
	c := &Cluster{
		Server: "https://127.0.0.1:" + strconv.Itoa(ports[0]), Etcd: "http://127.0.0.1:" + strconv.Itoa(ports[1]),
		bed: b, port: ports[0], etcdPeers: "http://127.0.0.1:" + strconv.Itoa(ports[2]), etcdMetrics: options.EtcdMetrics,
	}
	var err error
	if c.credentials, err = newCredentials(b.Dir); err != nil {
		return nil, err
	}
	c.Admin = c.credentials.admin
	return c, c.connect()
}

// connect makes the client, for the certificate that the API server has now.
func (c *Cluster) connect() (err error) {
	c.Client, err = kubernetes.NewForConfig(&rest.Config{
		Host: c.Server, BearerToken: c.Admin.Token, QPS: -1, Timeout: time.Minute,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.credentials.certificate},
	})
	return err
}

// StartEtcd starts etcd again after StopEtcd, at the same address and with the same data.
// It returns when etcd is ready.
func (c *Cluster) StartEtcd(ctx context.Context) error {
	binary, err := Binary(ctx, "etcd", c.bed.progress)
	if err != nil {
		return fmt.Errorf("cannot start etcd: %w", err)
	}
	args := []string{
		"--data-dir=" + filepath.Join(c.bed.Dir, "etcd"),
		"--listen-client-urls=" + c.Etcd, "--advertise-client-urls=" + c.Etcd,
		"--listen-peer-urls=" + c.etcdPeers, "--initial-advertise-peer-urls=" + c.etcdPeers,
		"--initial-cluster=default=" + c.etcdPeers,
		"--unsafe-no-fsync", "--log-level=warn",
	}
	if c.etcdMetrics != "" {
		args = append(args, "--listen-metrics-urls=http://"+c.etcdMetrics)
	}
	c.etcd, err = c.bed.Start(Command{Name: "etcd", Path: binary, Args: args})
	if err != nil {
		return err
	}
	if err := c.etcd.comesUp(ctx, readyBound, answersOK(c.Etcd+"/health")); err != nil {
		return fmt.Errorf("cannot start etcd: %w", err)
	}
	return nil
}

// StopEtcd ends etcd; its data stay.
func (c *Cluster) StopEtcd() error {
	_, err := c.etcd.Stop(stopBound)
	return err
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

// StopServer ends the API server as a crash does: told to stop it would wait a minute for
// open watches. Its data stay in etcd.
func (c *Cluster) StopServer() error {
	if err := c.apiServer.Signal(os.Kill); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopBound)
	defer cancel()
	_, err := c.apiServer.Wait(ctx)
	return err
}

// RotateCertificate gives the API server another certificate and authority, and starts it
// again. Kubeconfigs from before do not serve any more.
func (c *Cluster) RotateCertificate(ctx context.Context) error {
	if err := c.StopServer(); err != nil {
		return err
	}
	if err := c.credentials.newCertificate(); err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	return c.StartServer(ctx)
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
