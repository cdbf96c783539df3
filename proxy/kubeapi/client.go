// Package kubeapi connects to the Kubernetes API server: it reads a kubeconfig or the
// pod's service account, and makes a REST client for one API group. It imports nothing
// of this project.
//
// client-go is used by its small parts: the typed clientset doubles the size of the
// program.
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
	Path  string                      // of the API server: /api or /apis
	Types func(*runtime.Scheme) error // adds the group's types
}

// Core is the group of pods.
func Core() Group {
	return Group{corev1.SchemeGroupVersion, "/api", corev1.AddToScheme}
}

// Client makes requests to one API group. Safe for concurrent use.
type Client struct {
	rest.Interface
	Host string // of the API server, for messages
}

// NewClient makes a client. It does not connect.
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
	c.QPS = -1 // a list and a watch for each namespace: nothing to limit
	c.WarningHandler = rest.NoWarnings{}
	transport, err := rest.TransportFor(c)
	var client *rest.RESTClient
	if err == nil {
		client, err = rest.RESTClientForConfigAndClient(c, &http.Client{Transport: recordingTransport{transport}})
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make a client for the API server at %s: %w", config.Host, err)
	}
	return &Client{client, config.Host}, nil
}
