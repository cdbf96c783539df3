// Package kubeapi connects to the Kubernetes API server. It loads a kubeconfig or the
// pod's service account, and creates a REST client for one API group. It imports no other
// package of this project.
//
// It uses only the REST client of client-go, because the typed clientset would double the
// size of the binary.
package kubeapi

import (
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// Group is one version of an API group.
type Group struct {
	schema.GroupVersion
	Path  string                      // root path on the API server: /api or /apis
	Types func(*runtime.Scheme) error // adds the group's types
}

// Core returns the core group, v1, which includes pods.
func Core() Group {
	return Group{corev1.SchemeGroupVersion, "/api", corev1.AddToScheme}
}

// Client sends requests to one API group. Safe for concurrent use.
type Client struct {
	rest.Interface
	Host string // address of the API server, for messages
}

// NewClient creates a client from config, which it does not modify. It does not connect.
func NewClient(config *rest.Config, group Group) (*Client, error) {
	scheme := runtime.NewScheme()
	if err := group.Types(scheme); err != nil {
		return nil, err
	}
	c := rest.CopyConfig(config)
	c.APIPath = group.Path
	c.GroupVersion = &group.GroupVersion
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.ContentType = runtime.ContentTypeProtobuf
	c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	c.QPS = -1 // one list and one watch per namespace, so no client-side rate limit
	c.WarningHandler = rest.NoWarnings{}
	roundTripper, err := rest.TransportFor(c)
	var client *rest.RESTClient
	if err == nil {
		client, err = rest.RESTClientForConfigAndClient(c, &http.Client{Transport: transport{roundTripper}})
	}
	if err != nil {
		return nil, fmt.Errorf("cannot create a client for the API server at %s: %w", config.Host, err)
	}
	return &Client{client, config.Host}, nil
}
