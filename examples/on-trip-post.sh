#!/bin/sh
# Posts to a web address, as JSON, that a gate has closed. Wants curl(1) and jq(1).
#
# Usage, in headgate.conf:
#     queue payment-processing {
#         ...
#         on_trip = '/usr/local/share/headgate/on-trip-post.sh https://example.org/hook'
#     }
set -eu

url=${1:?usage: on-trip-post.sh URL}

jq -n -c '$ENV | {
  text: "headgate: \(.HEADGATE_QUEUE) is \(.HEADGATE_STATE): \(.HEADGATE_STATUS) \(.HEADGATE_ERROR)",
  queue: .HEADGATE_QUEUE,
  state: .HEADGATE_STATE,
  since: .HEADGATE_SINCE,
  message_id: .HEADGATE_MESSAGE_ID,
  sequence: (.HEADGATE_SEQUENCE | tonumber),
  status: (.HEADGATE_STATUS | tonumber),
  error: .HEADGATE_ERROR,
  depth: (.HEADGATE_DEPTH | tonumber),
  start: .HEADGATE_START
}' |
  curl --fail --silent --show-error --max-time 20 --retry 2 \
    --header 'Content-Type: application/json' --data-binary @- --output /dev/null "$url"
