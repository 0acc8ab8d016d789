"""What the middleware reports about a subscription: messages lost, publishers that do not fit. Asked, not awaited.

Awaited by an executor, as rclpy does it, these events make it wake for every message: in Fast DDS they share the
reader's condition, which stays raised until the message is taken. That took half a core.
"""

from __future__ import annotations

from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.event_handler import EventHandler, QoSSubscriptionEventType, UnsupportedEventTypeError
from rclpy.qos import qos_policy_name_from_kind
from rclpy.subscription import Subscription


class NoExecutor(CallbackGroup):
    """For what no executor may touch: others look after it."""

    def can_execute(self, entity: object) -> bool:
        return False

    def beginning_execution(self, entity: object) -> bool:
        return False

    def ending_execution(self, entity: object) -> None:
        pass


class ReaderEvents:
    """The events of one subscription since they were last asked for."""

    def __init__(self, subscription: Subscription, group: NoExecutor) -> None:
        kinds = QoSSubscriptionEventType
        self._lost = _handler(subscription, group, kinds.RCL_SUBSCRIPTION_MESSAGE_LOST)
        self._unfit = _handler(subscription, group, kinds.RCL_SUBSCRIPTION_REQUESTED_INCOMPATIBLE_QOS)

    def lost(self) -> int:
        """Messages that the middleware knows did not arrive."""
        status = _take(self._lost)
        return 0 if status is None else max(0, status.total_count_change)

    def unfit(self) -> str:
        """The policy for which a publisher does not fit; empty where none has turned up."""
        status = _take(self._unfit)
        if status is None or status.total_count_change <= 0:
            return ""
        return qos_policy_name_from_kind(status.last_policy_kind).lower()

    def destroy(self) -> None:
        """Before the subscription is destroyed."""
        for handler in (self._lost, self._unfit):
            if handler is not None:
                handler.destroy()


def _handler(subscription: Subscription, group: NoExecutor, kind: Any) -> EventHandler | None:
    try:
        return EventHandler(callback_group=group, callback=_take, event_type=kind, parent_impl=subscription.handle)
    except UnsupportedEventTypeError:
        return None


def _take(handler: EventHandler | None) -> Any:
    if handler is None:
        return None
    handler._ready_to_take_data = True  # what is_ready() would set; without an event the status has changed by 0
    try:
        return handler.take_data()
    except RuntimeError:  # other middlewares refuse where there is no event
        return None
