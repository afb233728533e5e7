output "function_name" {
  description = "For aws lambda invoke."
  value       = aws_lambda_function.obsync.function_name
}

output "bucket_name" {
  description = "Where the mirrors are."
  value       = aws_s3_bucket.mirrors.bucket
}

output "table_name" {
  description = "Where the state is."
  value       = aws_dynamodb_table.state.name
}

output "secret_arn" {
  description = "The secret to fill."
  value       = aws_secretsmanager_secret.account.arn
}

output "log_group_name" {
  description = "For aws logs tail."
  value       = aws_cloudwatch_log_group.function.name
}

output "queue_url" {
  description = "One message for each vault to mirror."
  value       = aws_sqs_queue.vaults.url
}

output "dead_letters_url" {
  description = "What failed again and again."
  value       = aws_sqs_queue.dead_letters.url
}

output "alarm_topic_arn" {
  description = "To subscribe to."
  value       = aws_sns_topic.alarms.arn
}
