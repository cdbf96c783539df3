package main

import (
	"crypto/tls"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
)

// apiConfig says how to reach the API server: by KUBECONFIG, or else by the
// service account of the pod that this process runs in.
func apiConfig(d config.Discovery) (*rest.Config, error) {
	if d.Kubeconfig == "" {
		api, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("KUBECONFIG is not set and this is not a pod with a service account: want the path of a kubeconfig file: %w", err)
		}
		return api, nil
	}
	api, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: d.Kubeconfig},
		&clientcmd.ConfigOverrides{CurrentContext: d.KubeContext},
	).ClientConfig()
	if err == nil {
		err = checkAPI(api)
	}
	if err != nil {
		return nil, fmt.Errorf("KUBECONFIG is %q, KUBE_CONTEXT is %q: want a kubeconfig file that can be used, and a context of it: %w", d.Kubeconfig, d.KubeContext, err)
	}
	return api, nil
}

// checkAPI returns why no request can be made as api says, or nil. It asks nobody.
func checkAPI(api *rest.Config) error {
	if _, _, err := rest.DefaultServerUrlFor(api); err != nil {
		return fmt.Errorf("cannot use the server's address: %w", err)
	}
	if err := checkClientCertificate(api); err != nil {
		return fmt.Errorf("cannot use the client certificate and key: %w", err)
	}
	if _, err := rest.TransportFor(api); err != nil {
		return fmt.Errorf("cannot make a client for %s: %w", api.Host, err)
	}
	return nil
}

// checkClientCertificate returns why the certificate, if there is one, and its key are no
// pair. Where they are files, client-go would go on without them, as nobody.
func checkClientCertificate(api *rest.Config) error {
	loaded := rest.CopyConfig(api)
	if err := rest.LoadTLSFiles(loaded); err != nil {
		return err
	}
	if len(loaded.CertData) == 0 {
		return nil
	}
	_, err := tls.X509KeyPair(loaded.CertData, loaded.KeyData)
	return err
}
