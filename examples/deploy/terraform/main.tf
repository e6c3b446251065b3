# The quickstart in the database's private subnets, with a secret or with IAM authentication, and the least policy for it.
#
#   cargo lambda build --release --arm64 --manifest-path examples/function/Cargo.toml --output-format zip
#   terraform init && terraform apply

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "host" {
  description = "The cluster's writer endpoint, or the instance's endpoint."
  type        = string
}

variable "port" {
  description = "3306 for MySQL."
  type        = number
  default     = 5432
}

variable "database" {
  type = string
}

variable "secret_arn" {
  description = "The secret with username and password, which may be the one that RDS manages. Null for IAM."
  type        = string
  default     = null
}

variable "db_resource_id" {
  description = "For IAM authentication: cluster_resource_id of aws_rds_cluster, resource_id of aws_db_instance."
  type        = string
  default     = null
}

variable "db_user" {
  description = "For IAM authentication."
  type        = string
  default     = "app"
}

variable "vpc_id" {
  type = string
}

variable "subnet_ids" {
  description = "Private subnets, with NAT or with an interface endpoint of Secrets Manager."
  type        = list(string)
}

variable "database_security_group_id" {
  description = "The database's group; it is opened to the function's."
  type        = string
}

variable "most_environments" {
  description = "Environments at a time, each of which may have two connections; less than half of max_connections."
  type        = number
  default     = 20
}

variable "package" {
  description = "What cargo-lambda has built."
  type        = string
  default     = "../../../target/lambda/quickstart/bootstrap.zip"
}

locals {
  name    = "lambda-rds-quickstart"
  use_iam = var.db_resource_id != null
  credentials = local.use_iam ? {
    LAMBDA_RDS_IAM  = "true"
    LAMBDA_RDS_USER = var.db_user
    } : {
    LAMBDA_RDS_SECRET = var.secret_arn
  }
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "database" {
  statement {
    actions = local.use_iam ? ["rds-db:connect"] : ["secretsmanager:GetSecretValue"]
    resources = [local.use_iam ? join(":", [
      "arn:${data.aws_partition.this.partition}:rds-db", data.aws_region.this.name,
      data.aws_caller_identity.this.account_id, "dbuser", "${var.db_resource_id}/${var.db_user}",
    ]) : var.secret_arn]
  }
}

resource "aws_iam_role" "function" {
  name_prefix        = local.name
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy" "database" {
  role   = aws_iam_role.function.id
  policy = data.aws_iam_policy_document.database.json
}

# Logs and network interfaces.
resource "aws_iam_role_policy_attachment" "vpc" {
  role       = aws_iam_role.function.name
  policy_arn = "arn:${data.aws_partition.this.partition}:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole"
}

resource "aws_security_group" "function" {
  name_prefix = local.name
  vpc_id      = var.vpc_id

  egress {
    description     = "the database"
    protocol        = "tcp"
    from_port       = var.port
    to_port         = var.port
    security_groups = [var.database_security_group_id]
  }

  egress {
    description = "Secrets Manager"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group_rule" "from_function" {
  description              = local.name
  type                     = "ingress"
  protocol                 = "tcp"
  from_port                = var.port
  to_port                  = var.port
  security_group_id        = var.database_security_group_id
  source_security_group_id = aws_security_group.function.id
}

resource "aws_lambda_function" "quickstart" {
  function_name                  = local.name
  role                           = aws_iam_role.function.arn
  runtime                        = "provided.al2023"
  architectures                  = ["arm64"]
  handler                        = "bootstrap"
  filename                       = var.package
  memory_size                    = 512
  timeout                        = 10
  reserved_concurrent_executions = var.most_environments

  logging_config {
    log_format = "JSON"
  }

  vpc_config {
    subnet_ids         = var.subnet_ids
    security_group_ids = [aws_security_group.function.id]
  }

  environment {
    variables = merge(local.credentials, {
      LAMBDA_RDS_HOST     = var.host
      LAMBDA_RDS_PORT     = tostring(var.port)
      LAMBDA_RDS_DATABASE = var.database
      # Less than the init phase has: where the database is away, the first invocation says so.
      LAMBDA_RDS_BORROW_TIMEOUT = "5s"
    })
  }

  # Without it the function cannot be put into the VPC.
  depends_on = [aws_iam_role_policy_attachment.vpc]
}

output "function_name" {
  value = aws_lambda_function.quickstart.function_name
}
