variable "app_name" {
  description = "Name of the application."
  type        = string
  default     = "metrics-proxy"
}

variable "base" {
  description = "Base of the charm."
  type        = string
  default     = "ubuntu@24.04"
}

variable "channel" {
  description = "Channel of the charm on Charmhub."
  type        = string
  default     = "latest/stable"
}

variable "config" {
  description = "Configuration of the charm. Without pod-label-selector the application is blocked."
  type        = map(string)
  default     = {}
}

variable "constraints" {
  description = "Constraints of the application; null means those of the model."
  type        = string
  default     = null
}

variable "model_uuid" {
  description = "UUID of the model."
  type        = string
}

variable "resources" {
  description = "Resources other than those of the channel, such as an image for metrics-proxy-image."
  type        = map(string)
  default     = {}
}

variable "revision" {
  description = "Revision of the charm; null means the newest of the channel."
  type        = number
  default     = null
}

variable "trust" {
  description = "Whether the application may see the pods of the whole cluster. Without that it needs the RBAC that its action show-rbac shows."
  type        = bool
  default     = true
}

variable "units" {
  description = "Number of units, which share the pods among them."
  type        = number
  default     = 1
}
