variable "metrics_proxy" {
  description = "Deployment settings of the proxy."
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
  description = "UUID of the model, which must be a Kubernetes model."
  type        = string
}

variable "pod_label_selector" {
  description = "Label selector for the pods to scrape, which must also have the annotation prometheus.io/scrape: \"true\". The default selects any pod that has the label."
  type        = string
  default     = "app.kubernetes.io/name"
}

variable "prometheus" {
  description = "Deployment settings of Prometheus."
  type = object({
    channel  = optional(string, "2/stable")
    revision = optional(number)
  })
  default = {}
}
