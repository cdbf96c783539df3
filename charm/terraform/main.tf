resource "juju_application" "metrics_proxy" {
  name        = var.app_name
  model_uuid  = var.model_uuid
  config      = var.config
  constraints = var.constraints
  resources   = var.resources
  trust       = var.trust
  units       = var.units

  charm {
    name     = "metrics-proxy-k8s"
    base     = var.base
    channel  = var.channel
    revision = var.revision
  }
}
