package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// userNamespace is the namespace of the service accounts of users.
const userNamespace = "testbed-users"

// A User is a user of the API server, authenticated by a token.
type User struct {
	Name  string // user name in the API server
	Token string
}

// A Grant grants permissions in one namespace, or in the whole cluster if Namespace is empty.
type Grant struct {
	Namespace string
	Rules     []rbacv1.PolicyRule
}

// PodRules returns rules that allow the verbs on pods.
func PodRules(verbs ...string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: verbs}}
}

// NewUser creates a service account with the permissions of the grants and no others. It
// returns when the permissions are in effect. The name must be unique in the cluster. The
// token is valid for 30 days.
func (c *Cluster) NewUser(ctx context.Context, name string, grants ...Grant) (User, error) {
	user, err := c.newAccount(ctx, name)
	if err != nil {
		return User{}, fmt.Errorf("cannot create user %s: %w", name, err)
	}
	for i, grant := range grants {
		if err := c.grant(ctx, fmt.Sprintf("testbed:%s:%d", name, i), name, grant); err != nil {
			return User{}, fmt.Errorf("cannot create user %s: %w", name, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = poll(ctx, func(ctx context.Context) error { return c.checkAccess(ctx, user, grants) })
	if err != nil {
		return User{}, fmt.Errorf("cannot create user %s: %w", name, err)
	}
	return user, nil
}

// RenewUser issues a new token to a user that NewUser created, and returns when the API
// server rejects the previous token.
func (c *Cluster) RenewUser(ctx context.Context, name string, previous User) (User, error) {
	err := c.Client.CoreV1().ServiceAccounts(userNamespace).Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil {
		return User{}, fmt.Errorf("cannot renew the token of user %s: %w", name, err)
	}
	user, err := c.newAccount(ctx, name)
	if err != nil {
		return User{}, fmt.Errorf("cannot renew the token of user %s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = poll(ctx, func(ctx context.Context) error { // the API server caches successful authentications
		review, err := c.Client.AuthenticationV1().TokenReviews().Create(ctx,
			&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: previous.Token}}, metav1.CreateOptions{})
		if err == nil && review.Status.Authenticated {
			err = errors.New("the API server still accepts the previous token")
		}
		return err
	})
	if err != nil {
		return User{}, fmt.Errorf("cannot renew the token of user %s: %w", name, err)
	}
	return user, nil
}

// Allow grants further permissions to a user that NewUser created. It can be called once per
// user, and does not wait until the permissions are in effect.
func (c *Cluster) Allow(ctx context.Context, name string, grant Grant) error {
	if err := c.grant(ctx, fmt.Sprintf("testbed:%s:more", name), name, grant); err != nil {
		return fmt.Errorf("cannot grant permissions to user %s: %w", name, err)
	}
	return nil
}

func (c *Cluster) newAccount(ctx context.Context, name string) (User, error) {
	if err := c.CreateNamespaces(ctx, userNamespace); err != nil {
		return User{}, err
	}
	accounts := c.Client.CoreV1().ServiceAccounts(userNamespace)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := accounts.Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return User{}, err
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: new(int64(30 * 24 * 3600)),
	}}
	token, err := accounts.CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return User{}, err
	}
	return User{Name: "system:serviceaccount:" + userNamespace + ":" + name, Token: token.Status.Token}, nil
}

// grant creates a role and a binding for the account, both named role.
func (c *Cluster) grant(ctx context.Context, role, account string, grant Grant) error {
	rbac := c.Client.RbacV1()
	meta := metav1.ObjectMeta{Name: role, Namespace: grant.Namespace}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: userNamespace, Name: account}}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Name: role}
	if grant.Namespace == "" {
		ref.Kind = "ClusterRole"
		_, err := rbac.ClusterRoles().Create(ctx,
			&rbacv1.ClusterRole{ObjectMeta: meta, Rules: grant.Rules}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		_, err = rbac.ClusterRoleBindings().Create(ctx,
			&rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: ref}, metav1.CreateOptions{})
		return err
	}
	if err := c.CreateNamespaces(ctx, grant.Namespace); err != nil {
		return err
	}
	ref.Kind = "Role"
	_, err := rbac.Roles(grant.Namespace).Create(ctx,
		&rbacv1.Role{ObjectMeta: meta, Rules: grant.Rules}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = rbac.RoleBindings(grant.Namespace).Create(ctx,
		&rbacv1.RoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: ref}, metav1.CreateOptions{})
	return err
}

// checkAccess returns nil if the API server allows the user the first verb on the first
// resource of each rule.
func (c *Cluster) checkAccess(ctx context.Context, user User, grants []Grant) error {
	for _, grant := range grants {
		for _, rule := range grant.Rules {
			if len(rule.Verbs) == 0 || len(rule.Resources) == 0 || len(rule.APIGroups) == 0 {
				continue
			}
			review, err := c.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx,
				&authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
					User: user.Name,
					ResourceAttributes: &authorizationv1.ResourceAttributes{
						Namespace: grant.Namespace, Verb: rule.Verbs[0],
						Group: rule.APIGroups[0], Resource: rule.Resources[0],
					},
				}}, metav1.CreateOptions{})
			if err != nil {
				return err
			}
			if !review.Status.Allowed {
				return errors.New("a permission is not in effect: " + review.Status.Reason)
			}
		}
	}
	return nil
}

// Kubeconfig writes a new kubeconfig file for the user and returns its path. server is the URL
// of the API server, or of a forwarder to it; empty means Server.
func (c *Cluster) Kubeconfig(user User, server string) (string, error) {
	if server == "" {
		server = c.Server
	}
	config := api.NewConfig()
	config.Clusters["testbed"] = &api.Cluster{
		Server: server, TLSServerName: "localhost", CertificateAuthorityData: c.credentials.certificate,
	}
	config.AuthInfos["testbed"] = &api.AuthInfo{Token: user.Token}
	config.Contexts["testbed"] = &api.Context{Cluster: "testbed", AuthInfo: "testbed"}
	config.CurrentContext = "testbed"
	content, err := clientcmd.Write(*config)
	if err != nil {
		return "", fmt.Errorf("cannot write a kubeconfig: %w", err)
	}
	dir, err := os.MkdirTemp(c.bed.Dir, "kubeconfig-")
	if err != nil {
		return "", fmt.Errorf("cannot write a kubeconfig: %w", err)
	}
	path := filepath.Join(dir, "config")
	if err := writeSecret(path, content); err != nil {
		return "", fmt.Errorf("cannot write a kubeconfig: %w", err)
	}
	return path, nil
}
