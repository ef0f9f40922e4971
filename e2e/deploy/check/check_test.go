// Package check reads the files of docs/deploy strictly into the types that
// those who take them publish: a field that is misspelt, or of the wrong type, is an
// error.
package check

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/hashicorp/nomad/api"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/yaml"
)

// pages is docs/deploy, seen from here.
const pages = "../../../docs/deploy"

// read returns a file of docs/deploy.
func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(pages, path))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// decode reads JSON, and refuses fields that v does not have.
func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// objects reads documents of Kubernetes' into its types; path is where they come from.
func objects(t *testing.T, path string, text []byte) (all []any) {
	t.Helper()
	docs := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		var kind struct{ APIVersion, Kind string }
		if err := strict.Unmarshal(doc, &kind); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		object := map[string]any{
			"v1 Service": &corev1.Service{}, "v1 ServiceAccount": &corev1.ServiceAccount{},
			"apps/v1 Deployment": &appsv1.Deployment{}, "apps/v1 DaemonSet": &appsv1.DaemonSet{}, "apps/v1 StatefulSet": &appsv1.StatefulSet{},
			"rbac.authorization.k8s.io/v1 Role": &rbacv1.Role{}, "rbac.authorization.k8s.io/v1 RoleBinding": &rbacv1.RoleBinding{},
			"rbac.authorization.k8s.io/v1 ClusterRole": &rbacv1.ClusterRole{}, "rbac.authorization.k8s.io/v1 ClusterRoleBinding": &rbacv1.ClusterRoleBinding{},
		}[kind.APIVersion+" "+kind.Kind]
		if object == nil {
			t.Fatalf("%s: what is a %s %s?", path, kind.APIVersion, kind.Kind)
		}
		if err := strict.UnmarshalStrict(doc, object); err != nil {
			t.Errorf("%s: %s: %v", path, kind.Kind, err)
		}
		all = append(all, object)
	}
}

func TestDeployKubernetes(t *testing.T) {
	files, err := filepath.Glob(pages + "/kubernetes/*.yaml")
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		path := strings.TrimPrefix(file, pages+"/")
		for _, o := range objects(t, path, read(t, path)) {
			checkObject(t, path, o)
		}
	}
}

// checkObject wants selectors that mean their own pods, and no rights that are not needed.
func checkObject(t *testing.T, file string, o any) {
	t.Helper()
	switch o := o.(type) {
	case *appsv1.Deployment:
		checkPod(t, file, &o.Spec.Template)
		matches(t, file, o.Spec.Selector.MatchLabels, o.Spec.Template.Labels)
	case *appsv1.DaemonSet:
		checkPod(t, file, &o.Spec.Template)
		matches(t, file, o.Spec.Selector.MatchLabels, o.Spec.Template.Labels)
	case *appsv1.StatefulSet:
		checkPod(t, file, &o.Spec.Template)
		matches(t, file, o.Spec.Selector.MatchLabels, o.Spec.Template.Labels)
	case *rbacv1.Role:
		checkRules(t, file, o.Rules)
	case *rbacv1.ClusterRole:
		checkRules(t, file, o.Rules)
	}
}

func checkRules(t *testing.T, file string, r []rbacv1.PolicyRule) {
	t.Helper()
	if len(r) != 1 || !slices.Equal(r[0].APIGroups, []string{""}) || !slices.Equal(r[0].Resources, []string{"pods"}) ||
		!slices.Equal(r[0].Verbs, []string{"list", "watch"}) {
		t.Errorf("%s: more rights than are needed: %+v", file, r)
	}
}

func matches(t *testing.T, file string, selector, labels map[string]string) {
	t.Helper()
	for k, v := range selector {
		if labels[k] != v {
			t.Errorf("%s: the selector %s=%s does not mean its own pods", file, k, v)
		}
	}
}

// checkPod wants kagami to run with as few rights as it can.
func checkPod(t *testing.T, file string, pod *corev1.PodTemplateSpec) {
	t.Helper()
	found := false
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.Name != "kagami" {
			continue
		}
		found = true
		s, want := c.SecurityContext, []corev1.Capability{"NET_RAW"}
		if c.Args[0] == "replay" {
			want = nil
		}
		if !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || !slices.Equal(s.Capabilities.Add, want) ||
			*s.AllowPrivilegeEscalation != (want != nil) {
			t.Errorf("%s: rights of %s: %+v", file, c.Args[0], s)
		}
		if c.LivenessProbe.Exec == nil || c.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s: no liveness probe, or no limit of memory", file)
		}
	}
	if !found {
		t.Errorf("%s: a pod without a container kagami", file)
	}
}

func TestDeployECS(t *testing.T) {
	for _, path := range []string{"ecs/awsvpc.json", "ecs/bridge.json"} {
		var in ecs.RegisterTaskDefinitionInput
		if err := decode(read(t, path), &in); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if !slices.Contains(in.NetworkMode.Values(), in.NetworkMode) {
			t.Errorf("%s: network mode %q", path, in.NetworkMode)
		}
		for _, c := range in.RequiresCompatibilities {
			if !slices.Contains(c.Values(), c) {
				t.Errorf("%s: compatibility %q", path, c)
			}
		}
		for _, c := range in.ContainerDefinitions {
			if c.Name == nil || c.Image == nil {
				t.Errorf("%s: a container without a name or an image", path)
			}
			if l := c.LogConfiguration; l != nil && !slices.Contains(l.LogDriver.Values(), l.LogDriver) {
				t.Errorf("%s: log driver %q", path, l.LogDriver)
			}
		}
	}
}

func TestDeployNomad(t *testing.T) {
	var in struct{ Job *api.Job }
	if err := decode(read(t, "nomad/web.nomad.json"), &in); err != nil {
		t.Fatal(err)
	}
	in.Job.Canonicalize()
	if g := in.Job.TaskGroups[0]; len(g.Tasks) != 2 || g.Networks[0].Mode != "bridge" || !g.Tasks[1].Lifecycle.Sidecar {
		t.Errorf("the listener is no sidecar in the server's network namespace: %+v", g)
	}
}

// What has a field that there is not is refused: else the tests above prove nothing.
func TestDeployStrict(t *testing.T) {
	if err := decode([]byte(`{"family": "x", "networkMod": "host"}`), &ecs.RegisterTaskDefinitionInput{}); err == nil {
		t.Error("ECS: a field that is misspelt is taken")
	}
	if err := decode([]byte(`{"Job": {"IDD": "x"}}`), &struct{ Job *api.Job }{}); err == nil {
		t.Error("Nomad: a field that is misspelt is taken")
	}
	if err := strict.UnmarshalStrict([]byte("spec: {replica: 1}"), &appsv1.Deployment{}); err == nil {
		t.Error("Kubernetes: a field that is misspelt is taken")
	}
}
