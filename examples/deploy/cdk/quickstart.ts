// The quickstart beside a cluster of the same application, with IAM authentication or the cluster's secret: CDK wires the security
// groups, the network interfaces and the logs by itself.
//
//   cargo lambda build --release --arm64 --manifest-path examples/function/Cargo.toml --output-format zip

import { Duration } from "aws-cdk-lib";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import * as lambda from "aws-cdk-lib/aws-lambda";
import * as rds from "aws-cdk-lib/aws-rds";
import { Construct } from "constructs";

export interface QuickstartProps {
  readonly vpc: ec2.IVpc;
  readonly cluster: rds.DatabaseCluster;
  readonly database: string;
  /** Log in with a token as this user; without it, with the cluster's secret. */
  readonly iamUser?: string;
  /** Environments at a time, each of which may have two connections; less than half of the server's `max_connections`. */
  readonly mostEnvironments?: number;
}

export class Quickstart extends Construct {
  readonly function: lambda.Function;

  constructor(scope: Construct, id: string, props: QuickstartProps) {
    super(scope, id);
    const { cluster, iamUser } = props;
    const secret = cluster.secret;
    if (iamUser === undefined && secret === undefined) {
      throw new Error("the cluster has no secret: give iamUser");
    }
    const credentials: Record<string, string> =
      iamUser !== undefined
        ? { LAMBDA_RDS_IAM: "true", LAMBDA_RDS_USER: iamUser }
        : { LAMBDA_RDS_SECRET: secret!.secretArn };
    this.function = new lambda.Function(this, "Function", {
      runtime: lambda.Runtime.PROVIDED_AL2023,
      architecture: lambda.Architecture.ARM_64,
      handler: "bootstrap",
      code: lambda.Code.fromAsset("../../../target/lambda/quickstart/bootstrap.zip"),
      memorySize: 512,
      timeout: Duration.seconds(10),
      reservedConcurrentExecutions: props.mostEnvironments ?? 20,
      loggingFormat: lambda.LoggingFormat.JSON,
      vpc: props.vpc,
      vpcSubnets: { subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS },
      environment: {
        ...credentials,
        // Less than the init phase has: where the database is away, the first invocation says so.
        LAMBDA_RDS_BORROW_TIMEOUT: "5s",
        LAMBDA_RDS_HOST: cluster.clusterEndpoint.hostname,
        LAMBDA_RDS_PORT: cluster.clusterEndpoint.port.toString(),
        LAMBDA_RDS_DATABASE: props.database,
      },
    });
    cluster.connections.allowDefaultPortFrom(this.function);
    if (iamUser !== undefined) {
      cluster.grantConnect(this.function, iamUser);
    } else {
      secret!.grantRead(this.function);
    }
  }
}
