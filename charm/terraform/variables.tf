variable "app_name" {
  description = "Name of the application."
  type        = string
  default     = "metrics-proxy"
}

variable "base" {
  description = "Base on which the charm runs."
  type        = string
  default     = "ubuntu@24.04"
}

variable "channel" {
  description = "Charmhub channel to deploy from."
  type        = string
  default     = "latest/stable"
}

variable "config" {
  description = "Configuration of the charm. Without pod-label-selector, the application is in Blocked status."
  type        = map(string)
  default     = {}
}

variable "constraints" {
  description = "Constraints of the application; null means the constraints of the model."
  type        = string
  default     = null
}

variable "model_uuid" {
  description = "UUID of the model."
  type        = string
}

variable "resources" {
  description = "Resources to use instead of those in the channel, such as an image for metrics-proxy-image."
  type        = map(string)
  default     = {}
}

variable "revision" {
  description = "Revision of the charm; null means the latest in the channel."
  type        = number
  default     = null
}

variable "trust" {
  description = "Whether to trust the application with access to the cluster. If false, it needs the RBAC manifest that its action show-rbac shows."
  type        = bool
  default     = true
}

variable "units" {
  description = "Number of units, which share the pods."
  type        = number
  default     = 1
}
