// Command spreadbed gives shell scripts the test bed: a Kubernetes API server, pods with
// exporters, and users with few rights. The variable BED names the directory that a bed has
// its files in.
//
//	spreadbed start                          etcd and an API server, in the background, for an hour at most
//	spreadbed stop                           ends it and all that belongs to it; nothing if none runs
//	spreadbed pod NAME [FLAGS]               a running pod that asks to be scraped; its address is printed
//	    -namespace default  -label k=v,...
//	    -says TEXT          what its exporter answers; said{by="NAME"} 1 if not given
//	    -node-exporter      a real node exporter answers instead
//	    -down               nothing answers
//	spreadbed annotate NAMESPACE/NAME k=v... changes annotations of the pod
//	spreadbed delete NAMESPACE/NAME          the pod; what answers at its address goes on
//	spreadbed clear NAMESPACE                all pods there, if any, and what answers for them
//	spreadbed user NAME [VERB...]            a user who may do that with pods, everywhere; prints the path of its kubeconfig
//	spreadbed allow NAME VERB...             lets the user do that, too
//	spreadbed port                           prints a free port
package main
