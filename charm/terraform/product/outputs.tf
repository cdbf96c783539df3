output "metrics_proxy" {
  description = "Application name and endpoints of the proxy."
  value = {
    app_name = module.metrics_proxy.app_name
    provides = module.metrics_proxy.provides
    requires = module.metrics_proxy.requires
  }
}

output "prometheus" {
  description = "Application name of Prometheus."
  value = {
    app_name = juju_application.prometheus.name
  }
}
