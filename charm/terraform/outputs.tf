output "app_name" {
  description = "Name of the application."
  value       = juju_application.metrics_proxy.name
}

output "provides" {
  description = "Endpoints that the charm provides."
  value = {
    metrics_endpoint = "metrics-endpoint"
  }
}

output "requires" {
  description = "Endpoints that the charm requires."
  value = {
    charm_tracing   = "charm-tracing"
    receive_ca_cert = "receive-ca-cert"
    logging         = "logging"
  }
}
