"""The numbers of the fields in Kubernetes' protobuf messages, for the objects that kubectl makes itself.

From 1.33 on, `kubectl create namespace` and its like send protobuf. Each line is one message: number,
JSON name, type. `?` marks a field that is a pointer in Go: its zero value means something. `[]` is a list,
`{}` a map from strings, `-` a field that a client cannot set, `=` one whose fields belong to the message
around it.
"""

MESSAGES = """
ObjectMeta: 1 name str, 2 generateName str, 3 namespace str, 4 selfLink -, 5 uid str, 6 resourceVersion \
str, 7 generation -, 8 creationTimestamp -, 9 deletionTimestamp -, 10 deletionGracePeriodSeconds -, 11 \
labels {}str, 12 annotations {}str, 13 ownerReferences []OwnerReference, 14 finalizers []str
OwnerReference: 1 kind str, 3 name str, 4 uid str, 5 apiVersion str, 6 controller ?bool, 7 \
blockOwnerDeletion ?bool
LabelSelector: 1 matchLabels {}str, 2 matchExpressions []LabelSelectorRequirement
LabelSelectorRequirement: 1 key str, 2 operator str, 3 values []str
LocalObjectReference: 1 name str
ObjectReference: 1 kind str, 2 namespace str, 3 name str, 4 uid str, 5 apiVersion str, 6 resourceVersion \
str, 7 fieldPath str
DeleteOptions: 1 gracePeriodSeconds ?int, 2 preconditions ?Preconditions, 3 orphanDependents ?bool, 4 \
propagationPolicy ?str, 5 dryRun []str
Preconditions: 1 uid ?str, 2 resourceVersion ?str
Namespace: 1 metadata ObjectMeta, 2 spec NamespaceSpec, 3 status -
NamespaceSpec: 1 finalizers []str
ConfigMap: 1 metadata ObjectMeta, 2 data {}str, 3 binaryData {}bytes, 4 immutable ?bool
Secret: 1 metadata ObjectMeta, 2 data {}bytes, 3 type str, 4 stringData {}str, 5 immutable ?bool
ServiceAccount: 1 metadata ObjectMeta, 2 secrets []ObjectReference, 3 imagePullSecrets \
[]LocalObjectReference, 4 automountServiceAccountToken ?bool
Service: 1 metadata ObjectMeta, 2 spec ServiceSpec, 3 status -
ServiceSpec: 1 ports []ServicePort, 2 selector {}str, 3 clusterIP str, 4 type str, 5 externalIPs []str, 7 \
sessionAffinity str, 8 loadBalancerIP str, 9 loadBalancerSourceRanges []str, 10 externalName str, 11 \
externalTrafficPolicy str, 12 healthCheckNodePort int, 13 publishNotReadyAddresses bool, 17 ipFamilyPolicy \
?str, 18 clusterIPs []str, 19 ipFamilies []str, 20 allocateLoadBalancerNodePorts ?bool, 21 \
loadBalancerClass ?str, 22 internalTrafficPolicy ?str
ServicePort: 1 name str, 2 protocol str, 3 port int, 4 targetPort IntOrString, 5 nodePort int, 6 \
appProtocol ?str
Deployment: 1 metadata ObjectMeta, 2 spec DeploymentSpec, 3 status -
DeploymentSpec: 1 replicas ?int, 2 selector ?LabelSelector, 3 template PodTemplateSpec, 4 strategy \
DeploymentStrategy, 5 minReadySeconds int, 6 revisionHistoryLimit ?int, 7 paused bool, 9 \
progressDeadlineSeconds ?int
DeploymentStrategy: 1 type str, 2 rollingUpdate ?RollingUpdateDeployment
RollingUpdateDeployment: 1 maxUnavailable ?IntOrString, 2 maxSurge ?IntOrString
PodTemplateSpec: 1 metadata ObjectMeta, 2 spec PodSpec
Pod: 1 metadata ObjectMeta, 2 spec PodSpec, 3 status -
PodSpec: 2 containers []Container, 3 restartPolicy str, 4 terminationGracePeriodSeconds ?int, 5 \
activeDeadlineSeconds ?int, 6 dnsPolicy str, 7 nodeSelector {}str, 8 serviceAccountName str, 9 \
serviceAccount str, 10 nodeName str, 11 hostNetwork bool, 12 hostPID bool, 13 hostIPC bool, 15 \
imagePullSecrets []LocalObjectReference, 16 hostname str, 17 subdomain str, 19 schedulerName str, 20 \
initContainers []Container, 21 automountServiceAccountToken ?bool, 24 priorityClassName str, 25 priority \
?int, 27 shareProcessNamespace ?bool, 30 enableServiceLinks ?bool, 31 preemptionPolicy ?str
Container: 1 name str, 2 image str, 3 command []str, 4 args []str, 5 workingDir str, 6 ports \
[]ContainerPort, 7 env []EnvVar, 8 resources ResourceRequirements, 9 volumeMounts []VolumeMount, 10 \
livenessProbe ?Probe, 11 readinessProbe ?Probe, 13 terminationMessagePath str, 14 imagePullPolicy str, 16 \
stdin bool, 17 stdinOnce bool, 18 tty bool, 20 terminationMessagePolicy str, 22 startupProbe ?Probe
ContainerPort: 1 name str, 2 hostPort int, 3 containerPort int, 4 protocol str, 5 hostIP str
EnvVar: 1 name str, 2 value str, 3 valueFrom ?EnvVarSource
EnvVarSource: 1 fieldRef ?ObjectFieldSelector, 3 configMapKeyRef ?KeySelector, 4 secretKeyRef ?KeySelector
ObjectFieldSelector: 1 apiVersion str, 2 fieldPath str
KeySelector: 1 localObjectReference =LocalObjectReference, 2 key str, 3 optional ?bool
ResourceRequirements: 1 limits {}Quantity, 2 requests {}Quantity
VolumeMount: 1 name str, 2 readOnly bool, 3 mountPath str, 4 subPath str
Probe: 1 handler =ProbeAction, 2 initialDelaySeconds int, 3 timeoutSeconds int, 4 periodSeconds int, 5 \
successThreshold int, 6 failureThreshold int
ProbeAction: 1 exec ?ExecAction, 2 httpGet ?HTTPGetAction, 3 tcpSocket ?TCPSocketAction
ExecAction: 1 command []str
HTTPGetAction: 1 path str, 2 port IntOrString, 3 host str, 4 scheme str
TCPSocketAction: 1 port IntOrString, 2 host str
Role: 1 metadata ObjectMeta, 2 rules []PolicyRule
ClusterRole: 1 metadata ObjectMeta, 2 rules []PolicyRule, 3 aggregationRule ?AggregationRule
AggregationRule: 1 clusterRoleSelectors []LabelSelector
PolicyRule: 1 verbs []str, 2 apiGroups []str, 3 resources []str, 4 resourceNames []str, 5 nonResourceURLs \
[]str
RoleBinding: 1 metadata ObjectMeta, 2 subjects []Subject, 3 roleRef RoleRef
ClusterRoleBinding: 1 metadata ObjectMeta, 2 subjects []Subject, 3 roleRef RoleRef
Subject: 1 kind str, 2 apiGroup str, 3 name str, 4 namespace str
RoleRef: 1 apiGroup str, 2 kind str, 3 name str
SelfSubjectAccessReview: 1 metadata ObjectMeta, 2 spec AccessReviewSpec, 3 status -
AccessReviewSpec: 1 resourceAttributes ?ResourceAttributes, 2 nonResourceAttributes ?NonResourceAttributes
ResourceAttributes: 1 namespace str, 2 verb str, 3 group str, 4 version str, 5 resource str, 6 subresource \
str, 7 name str
NonResourceAttributes: 1 path str, 2 verb str
SelfSubjectRulesReview: 1 metadata ObjectMeta, 2 spec RulesReviewSpec, 3 status -
RulesReviewSpec: 1 namespace str
SelfSubjectReview: 1 metadata ObjectMeta, 2 status -
PodDisruptionBudget: 1 metadata ObjectMeta, 2 spec PodDisruptionBudgetSpec, 3 status -
PodDisruptionBudgetSpec: 1 minAvailable ?IntOrString, 2 selector ?LabelSelector, 3 maxUnavailable \
?IntOrString
Eviction: 1 metadata ObjectMeta, 2 deleteOptions ?DeleteOptions
HorizontalPodAutoscaler: 1 metadata ObjectMeta, 2 spec HorizontalPodAutoscalerSpec, 3 status -
HorizontalPodAutoscalerSpec: 1 scaleTargetRef ScaleTarget, 2 minReplicas ?int, 3 maxReplicas int, 4 \
metrics []MetricSpec
ScaleTarget: 1 kind str, 2 name str, 3 apiVersion str
MetricSpec: 1 type str, 4 resource ?ResourceMetricSource
ResourceMetricSource: 1 name str, 2 target MetricTarget
MetricTarget: 1 type str, 2 value ?Quantity, 3 averageValue ?Quantity, 4 averageUtilization ?int
Event: 1 metadata ObjectMeta, 2 involvedObject ObjectReference, 3 reason str, 4 message str, 5 source \
EventSource, 6 firstTimestamp Time, 7 lastTimestamp Time, 8 count int, 9 type str, 10 eventTime Time, 12 \
action str, 13 related ?ObjectReference, 14 reportingComponent str, 15 reportingInstance str
EventSource: 1 component str, 2 host str
"""
