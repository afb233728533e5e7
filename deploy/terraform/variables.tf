# The same as the parameters of deploy/sam/template.yaml.

variable "name" {
  type        = string
  default     = "obsync"
  description = "Name of the function and start of the other names."

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9-]{0,40}$", var.name))
    error_message = "The name has up to 41 letters, digits and hyphens, and begins with a letter."
  }
}

variable "package" {
  type        = string
  description = "Path of obsync-lambda.zip."
}

# --- mirror ---

variable "prefix" {
  type        = string
  default     = ""
  description = "What every key in the bucket starts with, with its slash at the end (notes/). Empty for the top of the bucket."

  validation {
    condition     = can(regex("^[A-Za-z0-9!_.()/-]*$", var.prefix))
    error_message = "The prefix has letters, digits and !_.()/- alone."
  }
}

variable "storage_class" {
  type        = string
  default     = ""
  description = "Storage class of the objects. Empty for STANDARD. The others bill small objects as 128 KB, or do not tier them."

  validation {
    condition = contains(
      ["", "STANDARD", "STANDARD_IA", "INTELLIGENT_TIERING", "ONEZONE_IA", "GLACIER_IR"], var.storage_class
    )
    error_message = "The storage class is one that is read at once."
  }
}

variable "object_tags" {
  type        = string
  default     = ""
  description = "Tags for every object, as a URL's query (team=notes&kept=true). Empty for none."
}

variable "noncurrent_days" {
  type        = number
  default     = 90
  description = "Days that the bucket keeps what was replaced or deleted."
}

variable "kms_key_arn" {
  type        = string
  default     = ""
  description = "ARN of a KMS key of this account and region for the bucket, the table and the secret. Empty for the keys that AWS owns."

  validation {
    condition     = can(regex("^$|^arn:[a-z-]+:kms:[a-z0-9-]+:\\d{12}:key/.+$", var.kms_key_arn))
    error_message = "Give the ARN of the key, not an alias."
  }
}

variable "override_bucket" {
  type        = string
  default     = ""
  description = "Another bucket that events may name as dest_bucket. Empty for none."
}

# --- schedule ---

variable "incremental_schedule" {
  type        = string
  default     = "rate(15 minutes)"
  description = "When changes are mirrored (rate(...) or cron(...), in UTC). Not more often than timeout, or runs meet each other."
}

variable "complete_schedule" {
  type        = string
  default     = "cron(7 3 ? * SUN *)"
  description = "When the whole of each vault is compared with the bucket (rate(...) or cron(...), in UTC)."
}

variable "schedule_enabled" {
  type        = bool
  default     = true
  description = "False until the secret is filled and the first run is done, if you like."
}

# --- function ---

variable "architecture" {
  type        = string
  default     = "arm64"
  description = "What the package was built for: arm64 or x86_64."

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "The architecture is arm64 or x86_64."
  }
}

variable "memory_size" {
  type        = number
  default     = 512
  description = "Memory of the function in MB, 256 or more. Lambda gives it processor time in proportion."

  validation {
    condition     = var.memory_size >= 256 && var.memory_size <= 10240
    error_message = "The function has 256 to 10240 MB."
  }
}

variable "timeout" {
  type        = number
  default     = 900
  description = "Seconds that one run may take, 60 to 900. One that needs more stops in time, and the next goes on."

  validation {
    condition     = var.timeout >= 60 && var.timeout <= 900
    error_message = "A run takes 60 to 900 seconds."
  }
}

variable "maximum_concurrency" {
  type        = number
  default     = 5
  description = "Vaults that are mirrored at once, 2 to 1000."
}

variable "reserved_concurrency" {
  type        = number
  default     = -1
  description = "Concurrency of the account kept for the function, which is also its limit. -1 for none; otherwise more than maximum_concurrency."
}

variable "log_level" {
  type        = string
  default     = "info"
  description = "What the function logs: error, warn, info or debug."

  validation {
    condition     = contains(["error", "warn", "info", "debug"], var.log_level)
    error_message = "The level is error, warn, info or debug."
  }
}

variable "log_retention_days" {
  type        = number
  default     = 30
  description = "Days that the log is kept. It holds names of files."
}

# --- account and state ---

variable "token_in_table" {
  type        = bool
  default     = true
  description = "Whether the session token is kept in the table. Without it every cold start signs in."
}

variable "state_ttl_days" {
  type        = number
  default     = null
  description = "Days after a mirror's last run until its state expires, 1 to 3650. Null for never."
}

variable "max_delete" {
  type        = string
  default     = ""
  description = "The most files that a run may delete, as a number or with %. Empty for half of a mirror of over 100 files."

  validation {
    condition     = can(regex("^$|^[0-9]{1,9}$|^([0-9]{1,2}|100)%$", var.max_delete))
    error_message = "Give a number, or a percentage from 0% to 100%."
  }
}

variable "device_name" {
  type        = string
  default     = ""
  description = "Shown in the vault's version history. Empty for obsync."
}

# --- alarms ---

variable "alarm_email" {
  type        = string
  default     = ""
  description = "Where alarms are sent. Empty for nowhere; subscribe to the topic yourself."
}

variable "no_success_hours" {
  type        = number
  default     = 6
  description = "An alarm goes off when no vault was mirrored for so many hours, 1 to 24."

  validation {
    condition     = var.no_success_hours >= 1 && var.no_success_hours <= 24
    error_message = "CloudWatch looks back over 1 to 24 hours."
  }
}
