package check

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// chart is where the chart is.
const chart = pages + "/helm/kagami"

// render is what Helm makes of the chart as the release "kagami" in the namespace
// "mirror": the documents, each read into its type, under KIND/NAME or KIND/NAMESPACE/NAME.
func render(t *testing.T, values string) (map[string]any, error) {
	t.Helper()
	files, err := renderFiles(t, "kagami", values)
	if err != nil {
		return nil, err
	}
	all := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if text := []byte(files[name]); strings.HasSuffix(name, ".yaml") && len(bytes.TrimSpace(text)) > 0 {
			for _, o := range objects(t, name, text) {
				checkObject(t, name, o)
				if all[key(o)] != nil {
					t.Errorf("%s: %s is there twice", name, key(o))
				}
				all[key(o)] = o
			}
		}
	}
	return all, nil
}

func renderFiles(t *testing.T, release, values string) (map[string]string, error) {
	t.Helper()
	c, err := loader.Load(chart)
	if err != nil {
		t.Fatal(err)
	}
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	all, err := chartutil.ToRenderValues(c, given, chartutil.ReleaseOptions{Name: release, Namespace: "mirror", IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}

// key names an object.
func key(o any) string {
	m, ok := o.(interface {
		GetName() string
		GetNamespace() string
	})
	if !ok {
		return fmt.Sprintf("%T", o)
	}
	kind := strings.TrimPrefix(fmt.Sprintf("%T", o), "*v1.")
	if m.GetNamespace() != "" {
		kind += "/" + m.GetNamespace()
	}
	return kind + "/" + m.GetName()
}

// replayerOnly and listenerOnly are the least that each part wants to be told.
const (
	replayerOnly = "{replayer: {enabled: true, outputHttp: ['http://staging:8080|10%', 'http://other:8080']}}"
	listenerOnly = "{listener: {enabled: true, replayer: 'replayer.example.com:28020', pods: [" +
		"{namespace: shop, kind: deployment, value: web, ports: [80, 81]}, {namespace: shop, kind: pod, value: db-0, ports: [80]}, " +
		"{namespace: blog, kind: labelSelector, value: 'app.kubernetes.io/name=ghost', ports: [2368]}]}}"
	everywhere = "{listener: {enabled: true, replayer: 'replayer.example.com:28020', pods: [" +
		"{namespace: shop, kind: pod, value: db-0, ports: [80]}, {kind: labelSelector, value: 'mirror=yes', ports: [80]}]}}"
)

func TestDeployHelm(t *testing.T) {
	both := string(read(t, "helm/web.yaml"))
	for name, c := range map[string]struct {
		values string
		want   []string
	}{
		"replayer": {replayerOnly, []string{"Service/kagami-replay", "StatefulSet/kagami-replay"}},
		"listener": {listenerOnly, []string{"DaemonSet/kagami-listen", "Role/blog/kagami-listen", "Role/shop/kagami-listen",
			"RoleBinding/blog/kagami-listen", "RoleBinding/shop/kagami-listen", "ServiceAccount/kagami-listen"}},
		"everywhere": {everywhere, []string{"ClusterRole/mirror-kagami-listen", "ClusterRoleBinding/mirror-kagami-listen",
			"DaemonSet/kagami-listen", "ServiceAccount/kagami-listen"}},
		"both": {both, []string{"DaemonSet/kagami-listen", "Role/shop/kagami-listen", "RoleBinding/shop/kagami-listen",
			"Service/kagami-replay", "ServiceAccount/kagami-listen", "StatefulSet/kagami-replay"}},
	} {
		t.Run(name, func(t *testing.T) {
			lintChart(t, c.values)
			all, err := render(t, c.values)
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Sorted(maps.Keys(all)); !slices.Equal(got, c.want) {
				t.Errorf("there are %v, want %v", got, c.want)
			}
			for _, o := range all {
				checkBinding(t, all, o)
			}
		})
	}
	t.Run("defaults", func(t *testing.T) { lintChart(t, "{}") })
	t.Run("environment", checkHelmEnvironment)
	t.Run("settings", checkHelmSettings)
	t.Run("refused", checkHelmRefuses)
}

// lintChart wants Helm to find nothing, but that there is no icon.
func lintChart(t *testing.T, values string) {
	t.Helper()
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range lint.All(chart, given, "mirror", true).Messages {
		if m.Severity > support.InfoSev || !strings.Contains(m.Err.Error(), "icon") {
			t.Errorf("helm lint: %v", m)
		}
	}
}

// checkBinding wants a binding to tie a role that there is to the account that the listeners have.
func checkBinding(t *testing.T, all map[string]any, o any) {
	t.Helper()
	var role string
	var subjects []rbacv1.Subject
	switch o := o.(type) {
	case *rbacv1.RoleBinding:
		role, subjects = o.RoleRef.Kind+"/"+o.Namespace+"/"+o.RoleRef.Name, o.Subjects
	case *rbacv1.ClusterRoleBinding:
		role, subjects = o.RoleRef.Kind+"/"+o.RoleRef.Name, o.Subjects
	default:
		return
	}
	account := all["DaemonSet/kagami-listen"].(*appsv1.DaemonSet).Spec.Template.Spec.ServiceAccountName
	want := rbacv1.Subject{Kind: "ServiceAccount", Name: account, Namespace: "mirror"}
	if all[role] == nil || len(subjects) != 1 || subjects[0] != want || all["ServiceAccount/"+account] == nil {
		t.Errorf("%s ties %s to %+v", key(o), role, subjects)
	}
}

// environment is what a container has, with KIND:NAME for what comes from elsewhere. A
// name that is there twice is an error.
func environment(t *testing.T, c *corev1.Container) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, e := range c.Env {
		if _, twice := env[e.Name]; twice {
			t.Errorf("%s is set twice", e.Name)
		}
		env[e.Name] = e.Value
		if from := e.ValueFrom; from != nil && from.FieldRef != nil {
			env[e.Name] = "field:" + from.FieldRef.FieldPath
		} else if from != nil && from.SecretKeyRef != nil {
			env[e.Name] = "secret:" + from.SecretKeyRef.Name + "/" + from.SecretKeyRef.Key
		}
	}
	return env
}

// mustRender is render of values that are right, and the two containers, where there are any.
func mustRender(t *testing.T, values string) (all map[string]any, replayer, listener *corev1.Container) {
	t.Helper()
	all, err := render(t, values)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := all["StatefulSet/kagami-replay"].(*appsv1.StatefulSet); ok {
		replayer = &s.Spec.Template.Spec.Containers[0]
	}
	if d, ok := all["DaemonSet/kagami-listen"].(*appsv1.DaemonSet); ok {
		listener = &d.Spec.Template.Spec.Containers[0]
	}
	return all, replayer, listener
}

func checkHelmEnvironment(t *testing.T) {
	_, replayer, listener := mustRender(t, string(read(t, "helm/web.yaml")))
	if replayer.Image != "registry.example.com/kagami:latest" || listener.Image != replayer.Image {
		t.Errorf("images %q and %q", replayer.Image, listener.Image)
	}
	_, onlyReplayer, _ := mustRender(t, replayerOnly)
	_, _, onlyListener := mustRender(t, listenerOnly)
	_, _, everywhere := mustRender(t, everywhere)
	for name, c := range map[string]struct {
		container *corev1.Container
		want      map[string]string
	}{
		"replayer of both": {replayer, map[string]string{
			"KAGAMI_INPUT_TCP": ":28020", "KAGAMI_JOIN_ADDRESS": "kagami-replay.mirror.svc:28020", "KAGAMI_OUTPUT_HTTP": "http://staging.staging.svc:8080",
			"KAGAMI_ADMIN": "0.0.0.0:9090", "KAGAMI_DRAIN_TIMEOUT": "5s",
		}},
		"replayer": {onlyReplayer, map[string]string{
			"KAGAMI_INPUT_TCP": ":28020", "KAGAMI_JOIN_ADDRESS": "kagami-replay.mirror.svc:28020", "KAGAMI_OUTPUT_HTTP": "http://staging:8080|10%\nhttp://other:8080",
			"KAGAMI_ADMIN": "0.0.0.0:9090", "KAGAMI_DRAIN_TIMEOUT": "5s",
		}},
		"listener of both": {listener, map[string]string{
			"KAGAMI_INPUT_RAW": "k8s://shop/labelSelector/app=web:80", "KAGAMI_INPUT_RAW_K8S_NODE": "field:spec.nodeName",
			"KAGAMI_OUTPUT_TCP": "kagami-replay.mirror.svc:28020|10%", "KAGAMI_JOIN": "secret:kagami-join/join",
			"KAGAMI_CPU_LIMIT": "20%", "KAGAMI_ADMIN": "127.0.0.1:9095", "KAGAMI_DRAIN_TIMEOUT": "5s",
		}},
		"listener": {onlyListener, map[string]string{
			"KAGAMI_INPUT_RAW":          "k8s://shop/deployment/web:80,81\nk8s://shop/pod/db-0:80\nk8s://blog/labelSelector/app.kubernetes.io/name=ghost:2368",
			"KAGAMI_INPUT_RAW_K8S_NODE": "field:spec.nodeName", "KAGAMI_OUTPUT_TCP": "replayer.example.com:28020|10%", "KAGAMI_JOIN": "secret:kagami-join/join",
			"KAGAMI_CPU_LIMIT": "20%", "KAGAMI_ADMIN": "127.0.0.1:9095", "KAGAMI_DRAIN_TIMEOUT": "5s",
		}},
		"listener everywhere": {everywhere, map[string]string{
			"KAGAMI_INPUT_RAW":          "k8s://shop/pod/db-0:80\nk8s://labelSelector/mirror=yes:80",
			"KAGAMI_INPUT_RAW_K8S_NODE": "field:spec.nodeName", "KAGAMI_OUTPUT_TCP": "replayer.example.com:28020|10%", "KAGAMI_JOIN": "secret:kagami-join/join",
			"KAGAMI_CPU_LIMIT": "20%", "KAGAMI_ADMIN": "127.0.0.1:9095", "KAGAMI_DRAIN_TIMEOUT": "5s",
		}},
	} {
		if got := environment(t, c.container); !maps.Equal(got, c.want) {
			t.Errorf("%s: environment\n%q\nwant\n%q", name, got, c.want)
		}
	}
}

// Every value that is not its default, and where it goes.
func checkHelmSettings(t *testing.T) {
	all, replayer, listener := mustRender(t, `
image: {repository: r.example.com/k, tag: 1.2.3, pullPolicy: Always}
imagePullSecrets: [{name: pull}]
replayer:
  enabled: true
  outputHttp: [http://staging:8080]
  port: 3000
  adminPort: 3001
  joinAddress: replayer.example.com:443
  drainSeconds: 30
  env: {KAGAMI_OUTPUT_HTTP_TIMEOUT: 5s, SSL_CERT_FILE: /ca.pem}
  envFrom: [{secretRef: {name: more}}]
  storage: {size: 1Gi, className: fast}
  podAnnotations: {prometheus.io/scrape: "true"}
  nodeSelector: {a: b}
  tolerations: [{operator: Exists}]
  affinity: {nodeAffinity: {}}
listener:
  enabled: true
  pods: [{kind: daemonset, value: edge, ports: [80]}]
  share: 0.5%
  joinSecret: {name: ""}
  admin: 0.0.0.0:9100
  cpuLimit: ""
  drainSeconds: 1
  env: {KAGAMI_INSECURE: "true"}
  podAnnotations: {c: d}
  nodeSelector: {a: b}
  tolerations: [{operator: Exists}]
  securityContext: {runAsUser: 0, runAsNonRoot: false}
`)
	s := all["StatefulSet/kagami-replay"].(*appsv1.StatefulSet)
	d := all["DaemonSet/kagami-listen"].(*appsv1.DaemonSet)
	service := all["Service/kagami-replay"].(*corev1.Service)
	claim := s.Spec.VolumeClaimTemplates[0].Spec
	replay, listen := s.Spec.Template, d.Spec.Template
	for what, is := range map[string]bool{
		"image":        replayer.Image == "r.example.com/k:1.2.3" && listener.Image == replayer.Image && listener.ImagePullPolicy == "Always",
		"pull secrets": replay.Spec.ImagePullSecrets[0].Name == "pull" && listen.Spec.ImagePullSecrets[0].Name == "pull",
		"service":      service.Spec.Ports[0].Port == 3000 && service.Spec.Ports[0].TargetPort.StrVal == replayer.Ports[0].Name && maps.Equal(service.Spec.Selector, replay.Labels),
		"ports":        replayer.Ports[0].ContainerPort == 3000 && replayer.Ports[1].ContainerPort == 3001 && replayer.ReadinessProbe.HTTPGet.Port.StrVal == replayer.Ports[1].Name,
		"storage":      claim.Resources.Requests.Storage().String() == "1Gi" && *claim.StorageClassName == "fast" && replayer.VolumeMounts[0].Name == s.Spec.VolumeClaimTemplates[0].Name,
		"grace":        *replay.Spec.TerminationGracePeriodSeconds == 40 && *listen.Spec.TerminationGracePeriodSeconds == 11,
		"env from":     replayer.EnvFrom[0].SecretRef.Name == "more",
		"annotations":  replay.Annotations["prometheus.io/scrape"] == "true" && listen.Annotations["c"] == "d",
		"scheduling":   replay.Spec.NodeSelector["a"] == "b" && replay.Spec.Affinity.NodeAffinity != nil && listen.Spec.NodeSelector["a"] == "b" && len(listen.Spec.Tolerations) == 1,
		"root":         *listener.SecurityContext.RunAsUser == 0 && !*listener.SecurityContext.RunAsNonRoot && len(listener.SecurityContext.Capabilities.Add) == 1,
	} {
		if !is {
			t.Errorf("%s: not as the values say", what)
		}
	}
	if got, want := environment(t, replayer), (map[string]string{
		"KAGAMI_INPUT_TCP": ":3000", "KAGAMI_JOIN_ADDRESS": "replayer.example.com:443", "KAGAMI_OUTPUT_HTTP": "http://staging:8080", "KAGAMI_ADMIN": "0.0.0.0:3001",
		"KAGAMI_DRAIN_TIMEOUT": "30s", "KAGAMI_OUTPUT_HTTP_TIMEOUT": "5s", "SSL_CERT_FILE": "/ca.pem",
	}); !maps.Equal(got, want) {
		t.Errorf("replayer: environment\n%q\nwant\n%q", got, want)
	}
	if got, want := environment(t, listener), (map[string]string{
		"KAGAMI_INPUT_RAW": "k8s://daemonset/edge:80", "KAGAMI_INPUT_RAW_K8S_NODE": "field:spec.nodeName", "KAGAMI_OUTPUT_TCP": "kagami-replay.mirror.svc:3000|0.5%",
		"KAGAMI_ADMIN": "0.0.0.0:9100", "KAGAMI_DRAIN_TIMEOUT": "1s", "KAGAMI_INSECURE": "true",
	}); !maps.Equal(got, want) {
		t.Errorf("listener: environment\n%q\nwant\n%q", got, want)
	}
}

// Values that make no sense are refused before anything is installed.
func checkHelmRefuses(t *testing.T) {
	replayer := func(more string) string { return "{replayer: {enabled: true, outputHttp: ['http://a'], " + more + "}}" }
	listener := func(more string) string {
		return "{listener: {enabled: true, replayer: 'r:1', pods: [{kind: pod, value: web, ports: [80]}], " + more + "}}"
	}
	pod := func(pod string) string { return "{listener: {enabled: true, replayer: 'r:1', pods: [{" + pod + "}]}}" }
	for values, want := range map[string]string{
		"{}":                                           "set replayer.enabled, listener.enabled or both",
		"{replayr: {enabled: true}}":                   "replayr",
		"{replayer: {enabled: true}}":                  "/replayer/outputHttp",
		"{replayer: {enabled: 'yes'}}":                 "/replayer/enabled",
		replayer("port: 99999"):                        "/replayer/port",
		listener("cpuLimit: 2"):                        "/listener/cpuLimit",
		listener("cpuLimit: half"):                     "/listener/cpuLimit",
		replayer("outputHttp: [staging]"):              "/replayer/outputHttp",
		replayer("env: {KAGAMI_ADMIN: '1'}"):           "KAGAMI_ADMIN",
		replayer("env: {KAGAMI_STATE_SYNC: 1}"):        "/replayer/env/KAGAMI_STATE_SYNC",
		replayer("storage: {size: big}"):               "/replayer/storage/size",
		"{listener: {enabled: true, replayer: 'r:1'}}": "/listener/pods",
		"{listener: {enabled: true, pods: [{kind: pod, value: web, ports: [80]}]}}": "/listener/replayer",
		replayer("cpuLimit: 50%"):                                  "cpuLimit",
		replayer("adminPort: null"):                                "adminPort",
		listener("share: 10"):                                      "/listener/share",
		listener("share: 10%%"):                                    "/listener/share",
		listener("env: {KAGAMI_JOIN: x}"):                          "KAGAMI_JOIN",
		pod("kind: service, value: web, ports: [80]"):              "/listener/pods/0/kind",
		pod("kind: deployment, value: app=web, ports: [80]"):       "/listener/pods/0/value",
		pod("namespace: Shop, kind: pod, value: web, ports: [80]"): "/listener/pods/0/namespace",
		pod("kind: pod, value: web, ports: ['http']"):              "/listener/pods/0/ports/0",
		pod("kind: pod, value: web"):                               "ports",
		"{image: {tag: ''}, " + listener("")[1:]:                   "/image/tag",
	} {
		if _, err := renderFiles(t, "kagami", values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: want an error about %s, got %v", values, want, err)
		}
	}
	if _, err := renderFiles(t, strings.Repeat("a", 46), replayerOnly); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a release's name of 46 letters: %v", err)
	}
	if _, err := renderFiles(t, strings.Repeat("a", 45), replayerOnly); err != nil {
		t.Error(err)
	}
}
