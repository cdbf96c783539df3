package kubeapi

import (
	"crypto/tls"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Options select an API server, and the user to authenticate as.
type Options struct {
	Kubeconfig string // path of a kubeconfig file; empty = the service account of the pod that this process runs in
	Context    string // context in Kubeconfig; empty = its current context
	UserAgent  string
}

// Load reads the configuration from the file or the service account. It does not connect.
// The error names KUBECONFIG and KUBE_CONTEXT, their values and the reason.
func Load(opts Options) (*rest.Config, error) {
	config, err := opts.load()
	if err != nil {
		return nil, err
	}
	config.UserAgent = opts.UserAgent
	return config, nil
}

func (o Options) load() (*rest.Config, error) {
	if o.Kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("KUBECONFIG is not set and this is not a pod with a service account: expected the path of a kubeconfig file: %w", err)
		}
		return config, nil
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: o.Kubeconfig},
		&clientcmd.ConfigOverrides{CurrentContext: o.Context},
	).ClientConfig()
	if err == nil {
		err = check(config)
	}
	if err != nil {
		return nil, fmt.Errorf("KUBECONFIG is %q, KUBE_CONTEXT is %q: expected a valid kubeconfig file and a context in it: %w", o.Kubeconfig, o.Context, err)
	}
	return config, nil
}

// check returns an error if no request can be made with the configuration. It does not
// connect.
func check(config *rest.Config) error {
	if _, _, err := rest.DefaultServerUrlFor(config); err != nil {
		return fmt.Errorf("cannot use the server's address: %w", err)
	}
	if err := checkClientCertificate(config); err != nil {
		return fmt.Errorf("cannot use the client certificate and key: %w", err)
	}
	if _, err := rest.TransportFor(config); err != nil {
		return fmt.Errorf("cannot create a client for %s: %w", config.Host, err)
	}
	return nil
}

// checkClientCertificate returns an error if there is a client certificate that does not
// match its key. If they are files, client-go would ignore them and send anonymous requests.
func checkClientCertificate(config *rest.Config) error {
	loaded := rest.CopyConfig(config)
	if err := rest.LoadTLSFiles(loaded); err != nil {
		return err
	}
	if len(loaded.CertData) == 0 {
		return nil
	}
	_, err := tls.X509KeyPair(loaded.CertData, loaded.KeyData)
	return err
}
