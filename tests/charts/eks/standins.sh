# Stand-ins for what docs/eks.md runs and this machine cannot: conftest.py says why. Each writes down how it was called.
called() { printf '%s\n' "$*" >> calls; }
given() { called "$@"; cat >> manifests; printf -- '\n---\n' >> manifests; }
docker() { case "$*" in *--password-stdin*) cat > password;; esac; called docker "$@"; }
helm() { called helm "$@"; }
kubectl() { case "$*" in *"-f -"*) given kubectl "$@";; *) called kubectl "$@";; esac; }
curl() { called curl "$@"; }
eksctl() {  # makes the VPC that a command looks for
  called eksctl "$@"
  case "$*" in
    "create cluster"*)
      local vpc subnet
      vpc=$(aws ec2 create-vpc --cidr-block 10.0.0.0/16 --query Vpc.VpcId --output text \
        --tag-specifications "ResourceType=vpc,Tags=[{Key=alpha.eksctl.io/cluster-name,Value=$CLUSTER_NAME}]")
      subnet=$(aws ec2 create-subnet --vpc-id "$vpc" --cidr-block 10.0.0.0/24 --query Subnet.SubnetId --output text)
      aws eks create-cluster --name "$CLUSTER_NAME" --resources-vpc-config "subnetIds=$subnet" \
        --role-arn "arn:aws:iam::$ACCOUNT_ID:role/cluster" > made.json;;
    "delete cluster"*) aws eks delete-cluster --name "$CLUSTER_NAME" > deleted.json;;
  esac
}
aws() {
  case "$*" in
    "ssm get-parameter "*) called aws "$@"; echo ami-0123456789abcdef0;;
    "ec2 describe-images "*) called aws "$@"; echo amazon-eks-node-al2023-x86_64-standard-1.36-v20261101;;
    "eks create-addon "*) printf '%s' "${@: -1}" > addon.yaml; called aws "${@:1:8}";;
    "eks create-pod-identity-association "* | "eks update-kubeconfig "* | "iam attach-role-policy "* | "cloudformation "*) called aws "$@";;
    # For SQS version 1 of the CLI knows no AWS_ENDPOINT_URL, and takes a queue's URL as it is.
    *) command aws --endpoint-url "$AWS_ENDPOINT_URL" "${@//https:\/\/sqs.us-east-1.amazonaws.com/$AWS_ENDPOINT_URL}";;
  esac
}
