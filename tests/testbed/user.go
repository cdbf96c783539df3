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

// userNamespace holds the service accounts that are the bed's users.
const userNamespace = "testbed-users"

// A User may call the API server with its token.
type User struct {
	Name  string // as the API server calls it
	Token string
}

// A Grant allows something in one namespace, or everywhere if Namespace is empty.
type Grant struct {
	Namespace string
	Rules     []rbacv1.PolicyRule
}

// PodRules allow the verbs on pods.
func PodRules(verbs ...string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: verbs}}
}

// NewUser makes a service account that may do what the grants say and nothing else.
// It returns when the API server honours them. A name is used once in a cluster. The
// token serves for 30 days.
func (c *Cluster) NewUser(ctx context.Context, name string, grants ...Grant) (User, error) {
	user, err := c.newAccount(ctx, name)
	if err != nil {
		return User{}, fmt.Errorf("cannot make user %s: %w", name, err)
	}
	for i, grant := range grants {
		if err := c.grant(ctx, fmt.Sprintf("testbed:%s:%d", name, i), name, grant); err != nil {
			return User{}, fmt.Errorf("cannot make user %s: %w", name, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = poll(ctx, func(ctx context.Context) error { return c.honours(ctx, user, grants) })
	if err != nil {
		return User{}, fmt.Errorf("cannot make user %s: %w", name, err)
	}
	return user, nil
}

// RenewUser gives a user that NewUser made another token, and returns when the API server
// refuses the one before.
func (c *Cluster) RenewUser(ctx context.Context, name string, before User) (User, error) {
	err := c.Client.CoreV1().ServiceAccounts(userNamespace).Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil {
		return User{}, fmt.Errorf("cannot renew user %s: %w", name, err)
	}
	user, err := c.newAccount(ctx, name)
	if err != nil {
		return User{}, fmt.Errorf("cannot renew user %s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = poll(ctx, func(ctx context.Context) error { // it remembers for a while whom it has let in
		review, err := c.Client.AuthenticationV1().TokenReviews().Create(ctx,
			&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: before.Token}}, metav1.CreateOptions{})
		if err == nil && review.Status.Authenticated {
			err = errors.New("the API server still takes the token before")
		}
		return err
	})
	if err != nil {
		return User{}, fmt.Errorf("cannot renew user %s: %w", name, err)
	}
	return user, nil
}

// Allow lets a user that NewUser made do more.
func (c *Cluster) Allow(ctx context.Context, name string, grant Grant) error {
	if err := c.grant(ctx, fmt.Sprintf("testbed:%s:more", name), name, grant); err != nil {
		return fmt.Errorf("cannot allow user %s more: %w", name, err)
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

// grant makes a role and its binding, both named role, for the account.
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

// honours returns nil when the API server allows the user what each rule says first.
func (c *Cluster) honours(ctx context.Context, user User, grants []Grant) error {
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
				return errors.New("the API server does not know its rules: " + review.Status.Reason)
			}
		}
	}
	return nil
}

// Kubeconfig writes a new kubeconfig file for the user and returns its path. An empty
// server means the API server itself; another URL is one through which it is reached.
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
