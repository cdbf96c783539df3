variable "metrics_proxy" {
  description = "How to deploy the proxy."
  type = object({
    channel   = optional(string, "latest/stable")
    config    = optional(map(string), {})
    resources = optional(map(string), {})
    revision  = optional(number)
    units     = optional(number, 1)
  })
  default = {}
}

variable "model_uuid" {
  description = "UUID of the model, which must be one of Kubernetes."
  type        = string
}

variable "pod_label_selector" {
  description = "Which pods are asked, of those annotated prometheus.io/scrape: \"true\". The default is any that has the label."
  type        = string
  default     = "app.kubernetes.io/name"
}

variable "prometheus" {
  description = "How to deploy Prometheus."
  type = object({
    channel  = optional(string, "2/stable")
    revision = optional(number)
  })
  default = {}
}
