// Package charmfiles contains only tests. They check the files of the charm that no other
// test uses: the bundle, the Terraform modules and the documents against
// charm/charmcraft.yaml, the alert rules with the real promtool, and charmcraft.yaml with
// the real charmcraft.
package charmfiles
