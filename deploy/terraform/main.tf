# obsync mirrors the Obsidian Sync vaults of one account into an S3 bucket, on a schedule. The same stack as
# deploy/sam/template.yaml; docs/lambda.md tells how to use it.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  has_kms_key = var.kms_key_arn != ""
  partition   = data.aws_partition.current.partition

  override_bucket = var.override_bucket == "" ? [] : ["arn:${local.partition}:s3:::${var.override_bucket}"]
  buckets         = concat([aws_s3_bucket.mirrors.arn], local.override_bucket)
  objects         = concat(["${aws_s3_bucket.mirrors.arn}/${var.prefix}*"], [for arn in local.override_bucket : "${arn}/*"])

  # What is empty is left out.
  environment = {
    S3_BUCKET             = aws_s3_bucket.mirrors.bucket
    S3_PREFIX             = var.prefix
    S3_STORAGE_CLASS      = var.storage_class
    S3_OBJECT_TAGS        = var.object_tags
    STATE_TABLE_NAME      = aws_dynamodb_table.state.name
    OBSYNC_SECRET_NAME    = aws_secretsmanager_secret.account.arn
    OBSYNC_QUEUE_URL      = aws_sqs_queue.vaults.url
    OBSYNC_TOKEN_IN_TABLE = var.token_in_table ? "on" : "off"
    OBSYNC_STATE_TTL_DAYS = var.state_ttl_days == null ? "" : tostring(var.state_ttl_days)
    OBSYNC_MAX_DELETE     = var.max_delete
    OBSYNC_DEVICE_NAME    = var.device_name
    LOG_LEVEL             = var.log_level
  }
}

# --- where mirrors go ---

# A backup outlives its stack: Terraform does not delete a bucket that has objects.
resource "aws_s3_bucket" "mirrors" {
  bucket_prefix = lower("${substr(var.name, 0, 24)}-mirrors-")
}

resource "aws_s3_bucket_versioning" "mirrors" {
  bucket = aws_s3_bucket.mirrors.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "mirrors" {
  bucket = aws_s3_bucket.mirrors.id

  rule {
    bucket_key_enabled = local.has_kms_key

    apply_server_side_encryption_by_default {
      sse_algorithm     = local.has_kms_key ? "aws:kms" : "AES256"
      kms_master_key_id = local.has_kms_key ? var.kms_key_arn : null
    }
  }
}

resource "aws_s3_bucket_ownership_controls" "mirrors" {
  bucket = aws_s3_bucket.mirrors.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "mirrors" {
  bucket                  = aws_s3_bucket.mirrors.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_lifecycle_configuration" "mirrors" {
  # Rules about old versions want a versioned bucket.
  depends_on = [aws_s3_bucket_versioning.mirrors]
  bucket     = aws_s3_bucket.mirrors.id

  rule {
    id     = "unfinished-uploads"
    status = "Enabled"
    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  rule {
    id     = "old-versions"
    status = "Enabled"
    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_days
    }
  }

  rule {
    id     = "markers-of-nothing"
    status = "Enabled"
    filter {}

    expiration {
      expired_object_delete_marker = true
    }
  }
}

resource "aws_s3_bucket_policy" "mirrors" {
  # Two changes of a bucket's access at once are refused.
  depends_on = [aws_s3_bucket_public_access_block.mirrors]
  bucket     = aws_s3_bucket.mirrors.id
  policy     = data.aws_iam_policy_document.bucket.json
}

data "aws_iam_policy_document" "bucket" {
  statement {
    sid       = "OnlyTls"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.mirrors.arn, "${aws_s3_bucket.mirrors.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

# --- what is remembered ---

# State is a cache: without it a run compares the vault with the bucket.
resource "aws_dynamodb_table" "state" {
  name         = "${var.name}-state"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "vault_id"

  attribute {
    name = "vault_id"
    type = "S"
  }

  ttl {
    attribute_name = "ttl"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }

  # Without a key of your own, DynamoDB encrypts with one that AWS owns.
  dynamic "server_side_encryption" {
    for_each = local.has_kms_key ? [var.kms_key_arn] : []

    content {
      enabled     = true
      kms_key_arn = server_side_encryption.value
    }
  }
}

resource "aws_secretsmanager_secret" "account" {
  name_prefix = "${var.name}-account-"
  description = "The Obsidian account, and the encryption passwords of its vaults. docs/lambda.md has its form."
  kms_key_id  = local.has_kms_key ? var.kms_key_arn : null
}

# To be filled by hand, so that no secret is in Terraform's state.
resource "aws_secretsmanager_secret_version" "account" {
  secret_id     = aws_secretsmanager_secret.account.id
  secret_string = "{}"

  lifecycle {
    ignore_changes = [secret_string, version_stages]
  }
}

# --- the function ---

resource "aws_lambda_function" "obsync" {
  # The role's rights, and the log with its retention, come first.
  depends_on = [aws_iam_role_policy.function]

  function_name                  = var.name
  description                    = "Mirrors Obsidian Sync vaults into a bucket"
  filename                       = var.package
  source_code_hash               = filebase64sha256(var.package)
  handler                        = "bootstrap"
  runtime                        = "provided.al2023"
  architectures                  = [var.architecture]
  memory_size                    = var.memory_size
  timeout                        = var.timeout
  reserved_concurrent_executions = var.reserved_concurrency
  role                           = aws_iam_role.function.arn

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.function.name
  }

  environment {
    variables = { for name, value in local.environment : name => value if value != "" }
  }
}

# For events that nobody waits for: the schedules'.
resource "aws_lambda_function_event_invoke_config" "obsync" {
  function_name                = aws_lambda_function.obsync.function_name
  maximum_event_age_in_seconds = 900
  maximum_retry_attempts       = 1

  destination_config {
    on_failure {
      destination = aws_sqs_queue.dead_letters.arn
    }
  }
}

resource "aws_lambda_event_source_mapping" "vaults" {
  function_name           = aws_lambda_function.obsync.arn
  event_source_arn        = aws_sqs_queue.vaults.arn
  batch_size              = 1
  function_response_types = ["ReportBatchItemFailures"]

  scaling_config {
    maximum_concurrency = var.maximum_concurrency
  }
}

resource "aws_cloudwatch_log_group" "function" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_retention_days
}

resource "aws_iam_role" "function" {
  name_prefix        = "${substr(var.name, 0, 24)}-function-"
  assume_role_policy = data.aws_iam_policy_document.function_trust.json
}

data "aws_iam_policy_document" "function_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "function" {
  name   = "function"
  role   = aws_iam_role.function.id
  policy = data.aws_iam_policy_document.function.json
}

data "aws_iam_policy_document" "function" {
  statement {
    sid       = "Objects"
    # s3:PutObjectTagging for copies too, whose tags are set anew, to none where none are configured.
    actions = [
      "s3:AbortMultipartUpload",
      "s3:DeleteObject",
      "s3:GetObject",
      "s3:PutObject",
      "s3:PutObjectTagging",
    ]
    resources = local.objects
  }

  # Without s3:ListBucket a missing object is "forbidden" instead of "not found".
  statement {
    sid       = "Buckets"
    actions   = ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
    resources = local.buckets
  }

  statement {
    sid = "State"
    actions = [
      "dynamodb:BatchGetItem",
      "dynamodb:BatchWriteItem",
      "dynamodb:ConditionCheckItem",
      "dynamodb:DeleteItem",
      "dynamodb:GetItem",
      "dynamodb:PutItem",
      "dynamodb:UpdateItem",
    ]
    resources = [aws_dynamodb_table.state.arn]
  }

  statement {
    sid       = "Account"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.account.arn]
  }

  statement {
    sid       = "Queue"
    actions   = ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"]
    resources = [aws_sqs_queue.vaults.arn]
  }

  statement {
    sid       = "DeadLetters"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.dead_letters.arn]
  }

  statement {
    sid       = "Log"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.function.arn}:*"]
  }

  dynamic "statement" {
    for_each = local.has_kms_key ? [var.kms_key_arn] : []

    content {
      sid = "Key"
      actions = [
        "kms:Decrypt",
        "kms:DescribeKey",
        "kms:Encrypt",
        "kms:GenerateDataKey",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
      ]
      resources = [statement.value]

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values = [
          for service in ["s3", "dynamodb", "secretsmanager"] :
          "${service}.${split(":", statement.value)[3]}.${data.aws_partition.current.dns_suffix}"
        ]
      }
    }
  }
}

# --- one message for each vault ---

resource "aws_sqs_queue" "vaults" {
  name                    = "${var.name}-vaults"
  sqs_managed_sse_enabled = true
  # Six times the longest timeout, as AWS advises: the message must not come back while a run is at it.
  visibility_timeout_seconds = 5400
  message_retention_seconds  = 86400

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue" "dead_letters" {
  name                      = "${var.name}-dead-letters"
  sqs_managed_sse_enabled   = true
  message_retention_seconds = 1209600
}

# --- the schedule ---

resource "aws_scheduler_schedule_group" "obsync" {
  name = var.name
}

resource "aws_iam_role" "schedule" {
  name_prefix        = "${substr(var.name, 0, 24)}-schedule-"
  assume_role_policy = data.aws_iam_policy_document.schedule_trust.json
}

data "aws_iam_policy_document" "schedule_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["scheduler.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceArn"
      values   = [aws_scheduler_schedule_group.obsync.arn]
    }
  }
}

resource "aws_iam_role_policy" "schedule" {
  name   = "schedule"
  role   = aws_iam_role.schedule.id
  policy = data.aws_iam_policy_document.schedule.json
}

data "aws_iam_policy_document" "schedule" {
  statement {
    actions   = ["lambda:InvokeFunction"]
    resources = [aws_lambda_function.obsync.arn]
  }

  statement {
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.dead_letters.arn]
  }
}

# The input has the form of a bus's event: one that failed outright counts as failed then, and is tried again.
resource "aws_scheduler_schedule" "incremental" {
  name                = "incremental"
  description         = "Mirrors what changed in each vault"
  group_name          = aws_scheduler_schedule_group.obsync.name
  state               = var.schedule_enabled ? "ENABLED" : "DISABLED"
  schedule_expression = var.incremental_schedule

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_function.obsync.arn
    role_arn = aws_iam_role.schedule.arn
    input = jsonencode({
      "detail-type" = "schedule"
      detail        = { action = "dispatch", sync_type = "incremental" }
    })

    retry_policy {
      maximum_event_age_in_seconds = 900
      maximum_retry_attempts       = 3
    }

    dead_letter_config {
      arn = aws_sqs_queue.dead_letters.arn
    }
  }
}

resource "aws_scheduler_schedule" "complete" {
  name                = "complete"
  description         = "Compares the whole of each vault with the bucket"
  group_name          = aws_scheduler_schedule_group.obsync.name
  state               = var.schedule_enabled ? "ENABLED" : "DISABLED"
  schedule_expression = var.complete_schedule

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_function.obsync.arn
    role_arn = aws_iam_role.schedule.arn
    input = jsonencode({
      "detail-type" = "schedule"
      detail        = { action = "dispatch", sync_type = "complete" }
    })

    retry_policy {
      maximum_event_age_in_seconds = 3600
      maximum_retry_attempts       = 10
    }

    dead_letter_config {
      arn = aws_sqs_queue.dead_letters.arn
    }
  }
}

# --- alarms ---

resource "aws_sns_topic" "alarms" {
  name         = "${var.name}-alarms"
  display_name = "Alarms of ${var.name}"
}

resource "aws_sns_topic_subscription" "alarms" {
  count     = var.alarm_email == "" ? 0 : 1
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

resource "aws_cloudwatch_metric_alarm" "failures" {
  alarm_name          = "${var.name}-failures"
  alarm_description   = "A vault could not be mirrored, or a file of it. The log tells which and why."
  namespace           = "obsync"
  metric_name         = "Failures"
  dimensions          = { FunctionName = aws_lambda_function.obsync.function_name }
  statistic           = "Sum"
  period              = 900
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${var.name}-errors"
  alarm_description   = "The function failed outright: a dispatch, a crash, out of time or memory."
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = aws_lambda_function.obsync.function_name }
  statistic           = "Sum"
  period              = 900
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "no_success" {
  alarm_name          = "${var.name}-no-success"
  alarm_description   = "No vault was mirrored for ${var.no_success_hours} hours."
  namespace           = "obsync"
  metric_name         = "VaultsSynced"
  dimensions          = { FunctionName = aws_lambda_function.obsync.function_name }
  statistic           = "Sum"
  period              = 3600
  evaluation_periods  = var.no_success_hours
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  # Silence is what it is about.
  treat_missing_data = "breaching"
  alarm_actions      = [aws_sns_topic.alarms.arn]
  ok_actions         = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  alarm_name          = "${var.name}-dead-letters"
  alarm_description   = "Events that failed again and again lie in the queue of dead letters."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead_letters.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}
