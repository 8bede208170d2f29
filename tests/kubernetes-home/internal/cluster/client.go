package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// requestTimeout is short: a server that is starting may take a request and not answer it.
const requestTimeout = 2 * time.Second

// client asks the API server as the administrator. It knows what bringing a cluster up needs, and no more.
type client struct {
	http http.Client
	url  string
}

// client reads the administrator's kubeconfig, which is JSON as we write it.
func (c *Cluster) client() (*client, error) {
	text, err := os.ReadFile(c.Kubeconfig())
	if err != nil {
		return nil, err
	}
	var config struct {
		Clusters []struct {
			Cluster struct {
				Server    string `json:"server"`
				Authority []byte `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
		Users []struct {
			User struct {
				Certificate []byte `json:"client-certificate-data"`
				Key         []byte `json:"client-key-data"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, fmt.Errorf("read %s: %w", c.Kubeconfig(), err)
	}
	if len(config.Clusters) != 1 || len(config.Users) != 1 {
		return nil, fmt.Errorf("%s must hold one cluster and one user", c.Kubeconfig())
	}
	user := config.Users[0].User
	pair, err := tls.X509KeyPair(user.Certificate, user.Key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(config.Clusters[0].Cluster.Authority) {
		return nil, errors.New("the kubeconfig holds no certificate authority")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12,
	}}
	return &client{http: http.Client{Transport: transport, Timeout: requestTimeout}, url: config.Clusters[0].Cluster.Server}, nil
}

// get reads a path into a value, unless that is nil. Any status but 200 is an error.
func (c *client) get(ctx context.Context, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %.300s", path, response.Status, body)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

// nodeReady says whether a node has said since then that it is Ready. The control plane goes on believing for a while in one that has
// died. Heartbeats are in whole seconds, and the next may be minutes away.
func (c *client) nodeReady(ctx context.Context, name string, since time.Time) (bool, error) {
	var node struct {
		Status struct {
			Conditions []struct {
				Type      string    `json:"type"`
				Status    string    `json:"status"`
				Heartbeat time.Time `json:"lastHeartbeatTime"`
			} `json:"conditions"`
		} `json:"status"`
	}
	if err := c.get(ctx, "/api/v1/nodes/"+name, &node); err != nil {
		return false, err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == "Ready" {
			return condition.Status == "True" && !condition.Heartbeat.Before(since.Truncate(time.Second)), nil
		}
	}
	return false, nil
}
