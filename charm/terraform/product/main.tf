module "metrics_proxy" {
  source = "../"

  app_name   = "metrics-proxy"
  model_uuid = var.model_uuid
  channel    = var.metrics_proxy.channel
  revision   = var.metrics_proxy.revision
  resources  = var.metrics_proxy.resources
  trust      = true
  units      = var.metrics_proxy.units
  config     = merge({ pod-label-selector = var.pod_label_selector }, var.metrics_proxy.config)
}

resource "juju_application" "prometheus" {
  name       = "prometheus"
  model_uuid = var.model_uuid
  trust      = true
  units      = 1

  charm {
    name     = "prometheus-k8s"
    channel  = var.prometheus.channel
    revision = var.prometheus.revision
  }
}

resource "juju_integration" "metrics_endpoint" {
  model_uuid = var.model_uuid

  application {
    name     = module.metrics_proxy.app_name
    endpoint = module.metrics_proxy.provides.metrics_endpoint
  }

  application {
    name     = juju_application.prometheus.name
    endpoint = "metrics-endpoint"
  }
}
