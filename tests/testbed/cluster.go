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

// ClusterOptions are the options of StartCluster.
type ClusterOptions struct {
	EtcdMetrics string // additional host:port on which etcd serves its own /metrics; may be empty
}

// A Cluster is a real API server with a real etcd, without nodes and controllers.
type Cluster struct {
	Server string               // https://127.0.0.1:PORT
	Etcd   string               // http://127.0.0.1:PORT, which also serves etcd's metrics
	Client kubernetes.Interface // client of Admin, without rate limit
	Admin  User                 // may do everything
	Proxy  User                 // may get, list and watch pods everywhere, and nothing else

	bed                    *Bed
	credentials            *credentials
	port                   int
	etcdPeers, etcdMetrics string
	etcd, apiServer        *Process
}

// StartCluster starts etcd and kube-apiserver, and returns when the API server is ready.
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

// connect creates the client, which trusts the API server's current certificate.
func (c *Cluster) connect() (err error) {
	c.Client, err = kubernetes.NewForConfig(&rest.Config{
		Host: c.Server, BearerToken: c.Admin.Token, QPS: -1, Timeout: time.Minute,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.credentials.certificate},
	})
	return err
}

// StartEtcd starts etcd, after StopEtcd with the same address and data. It returns when etcd
// is ready.
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
	if err := c.etcd.waitReady(ctx, readyBound, probeOK(c.Etcd+"/health")); err != nil {
		return fmt.Errorf("cannot start etcd: %w", err)
	}
	return nil
}

// StopEtcd stops etcd. Its data are kept.
func (c *Cluster) StopEtcd() error {
	_, err := c.etcd.Stop(stopBound)
	return err
}

// StartServer starts the API server, after StopServer with the same address and data. It
// returns when the API server is ready.
func (c *Cluster) StartServer(ctx context.Context) error {
	binary, err := Binary(ctx, "kube-apiserver", c.bed.progress)
	if err != nil {
		return fmt.Errorf("cannot start the API server: %w", err)
	}
	c.apiServer, err = c.bed.Start(Command{Name: "kube-apiserver", Path: binary, Args: []string{
		"--etcd-servers=" + c.Etcd,
		// The advertised address must not depend on this machine's network. The endpoint
		// reconciler is disabled, because endpoints cannot have loopback addresses.
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
		"--disable-admission-plugins=ServiceAccount", // it would require a service account for each pod
	}})
	if err != nil {
		return err
	}
	err = c.apiServer.waitReady(ctx, readyBound, c.ready)
	if err != nil {
		return fmt.Errorf("cannot start the API server: %w", err)
	}
	return nil
}

// StopServer kills the API server, because a graceful shutdown waits a minute for open
// watches. Its data are kept in etcd.
func (c *Cluster) StopServer() error {
	if err := c.apiServer.Signal(os.Kill); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopBound)
	defer cancel()
	_, err := c.apiServer.Wait(ctx)
	return err
}

// RotateCertificate restarts the API server with a new certificate and a new CA. Existing
// kubeconfigs become invalid.
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
		return fmt.Errorf("/readyz returned %d %.200q", status, body)
	}
	return nil
}

// writeSecret writes a file that only the current user can read.
func writeSecret(path string, content []byte) error {
	return os.WriteFile(path, content, 0o600)
}
