//go:build tools

package check

// The tests build Helm's program.
import _ "helm.sh/helm/v3/cmd/helm"
