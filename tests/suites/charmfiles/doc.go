// Package charmfiles has no code: its tests check those files of the charm that nothing
// else runs, such as the bundle, the Terraform modules and the documents, against
// charm/charmcraft.yaml, the alert rules with the real promtool, and charmcraft.yaml
// with the real charmcraft.
package charmfiles
