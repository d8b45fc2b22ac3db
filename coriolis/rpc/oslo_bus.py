# SPDX-License-Identifier: Apache-2.0
"""The bus over a broker, by oslo.messaging: ``rabbit://`` in production, ``fake://`` in tests.

A message is a hint or will be asked again, so queues hold nothing that must survive: they are transient, and vanish
with their last consumer. The queue of a worker session would otherwise stay for ever. Operators who want quorum
queues set ``rabbit_quorum_queue`` (those cannot vanish by themselves: add a policy with ``expires`` for
``coriolis_worker\\..*``).

oslo.messaging waits for a broker that is away, for ever and in the caller's thread. Every message is therefore sent in
a thread that nobody has to wait for.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import amqp
import oslo_messaging
from kombu.exceptions import KombuError
from oslo_config import cfg
from oslo_messaging import opts as messaging_opts

from coriolis.domain import codec
from coriolis.rpc.bus import Handler, NoAnswer, Served
from coriolis.rpc.messages import METHODS, VERSION
from coriolis.rpc.wire import answer, method_of, unpack

_LOG = logging.getLogger(__name__)

EXCHANGE = "coriolis"
_GROUP = "oslo_messaging_rabbit"
_DEFAULTS: dict[str, Any] = {
    "amqp_auto_delete": True,
    "heartbeat_timeout_threshold": 15,
    "heartbeat_rate": 3,
    "kombu_reconnect_delay": 0.5,
    "kombu_missing_consumer_retry_timeout": 5,
    "rabbit_retry_interval": 1,
    "rabbit_retry_backoff": 1,
    "rabbit_interval_max": 5,
    "rabbit_transient_queues_ttl": 300,
}
_UNLISTED = (
    ("oslo_messaging._metrics.client", "oslo_messaging_metrics"),
    ("oslo_messaging._tracing.client", "oslo_messaging_tracing"),
)
_AWAY = (
    oslo_messaging.MessagingException,
    oslo_messaging.MessageUndeliverable,  # nobody serves it
    KombuError,
    amqp.AMQPError,
    OSError,
)
_AT_ONCE = 128  # messages on their way out
_SEND_RETRIES = 2
_START_SECONDS = 10.0
_STOP_SECONDS = 5.0


def set_defaults(conf: cfg.ConfigOpts) -> None:
    """Our defaults for the options of oslo.messaging's RabbitMQ driver; what the operator has set stays.

    The library registers some of its options with the global configuration only, and does not list all of these, so
    they are registered here.
    """
    for group, options in messaging_opts.list_opts():
        conf.register_opts(options, group=group)
    for module, group in _UNLISTED:
        if module in sys.modules:
            conf.register_opts(getattr(sys.modules[module], group), group=group)
    for name, value in _DEFAULTS.items():
        conf.set_default(name, value, group=_GROUP)
    if conf[_GROUP].rabbit_quorum_queue:
        conf.set_default("amqp_auto_delete", False, group=_GROUP)


class OsloBus:
    """See ``coriolis.rpc.bus.Bus``. ``url`` overrides the configuration's ``transport_url``."""

    def __init__(self, conf: cfg.ConfigOpts, url: str | None = None) -> None:
        set_defaults(conf)
        self._transport = oslo_messaging.get_rpc_transport(conf, url=url)
        self._slots = threading.BoundedSemaphore(_AT_ONCE)
        self._lock = threading.Lock()
        self._servers: list[_Server] = []

    def serve(self, topic: str, server: str, handlers: Mapping[str, Handler]) -> Served:
        """With the broker away, the server comes up when the broker does."""
        unknown = set(handlers) - set(METHODS[topic])
        if unknown:
            raise TypeError(f"topic {topic} has no methods {sorted(unknown)}")
        served = _Server(self._transport, topic, server, handlers)
        with self._lock:
            self._servers.append(served)
        served.start()
        return served

    def call(self, topic: str, request: Any, *, server: str | None = None, timeout: float = 30.0) -> Any:
        method = method_of(topic, request)
        client = self._client(topic, server, timeout)
        sent = self._in_thread(lambda: client.call({}, method, payload=codec.to_json(request)), timeout)
        if not sent.done.wait(timeout):
            raise NoAnswer(f"{topic}.{method} did not answer within {timeout:g} s.")
        if isinstance(sent.error, _AWAY):
            raise NoAnswer(f"{topic}.{method} cannot be reached: {_first_line(sent.error)}")
        if sent.error is not None:
            raise sent.error
        return unpack(topic, method, sent.value)

    def cast(self, topic: str, request: Any, *, server: str | None = None) -> None:
        method = method_of(topic, request)
        client = self._client(topic, server, None)
        payload = codec.to_json(request)

        def send() -> None:
            try:
                client.cast({}, method, payload=payload)
            except _AWAY as error:
                _LOG.info("cast lost topic=%s method=%s server=%s reason=%s", topic, method, server, _first_line(error))

        try:
            self._in_thread(send, _START_SECONDS)
        except NoAnswer:
            _LOG.warning("cast lost, too many messages wait topic=%s method=%s server=%s", topic, method, server)

    def close(self) -> None:
        with self._lock:
            servers, self._servers = self._servers, []
        for served in servers:
            served.stop()
        _bounded(self._transport.cleanup, "close the transport")

    def _client(self, topic: str, server: str | None, timeout: float | None) -> Any:
        # The minor version is not asked for: receivers ignore fields that they do not know.
        version = f"{VERSION.split('.')[0]}.0"
        target = oslo_messaging.Target(exchange=EXCHANGE, topic=topic, server=server, version=version)
        return oslo_messaging.get_rpc_client(
            self._transport,
            target,
            timeout=timeout,
            retry=_SEND_RETRIES,
            transport_options=oslo_messaging.TransportOptions(at_least_once=True),
        )

    def _in_thread(self, send: Callable[[], Any], timeout: float) -> _Sent:
        """:raises NoAnswer: no thread is free in time, since too many wait for the broker"""
        if not self._slots.acquire(timeout=timeout):
            raise NoAnswer("The broker has not taken any message for a while.")
        sent = _Sent()

        def run() -> None:
            try:
                sent.value = send()
            except Exception as error:  # noqa: BLE001 - handed to the thread that waits
                sent.error = error
            finally:
                self._slots.release()
                sent.done.set()

        threading.Thread(target=run, name="rpc-send", daemon=True).start()
        return sent


class _Sent:
    """What became of a message."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.value: Any = None
        self.error: Exception | None = None


class _Server:
    def __init__(self, transport: Any, topic: str, name: str, handlers: Mapping[str, Handler]) -> None:
        target = oslo_messaging.Target(exchange=EXCHANGE, topic=topic, server=name)
        self._name = f"{topic}.{name}"
        self._started = threading.Event()
        self._server = oslo_messaging.get_rpc_server(
            transport,
            target,
            [_endpoint(topic, handlers)],
            access_policy=oslo_messaging.DefaultRPCAccessPolicy,
        )

    def start(self) -> None:
        def run() -> None:
            self._server.start()
            self._started.set()

        threading.Thread(target=run, name=f"start-{self._name}", daemon=True).start()
        if not self._started.wait(_START_SECONDS):
            _LOG.warning("the broker is away; served when it comes back name=%s", self._name)

    def stop(self) -> None:
        if not self._started.is_set():
            return

        def run() -> None:
            self._server.stop()
            self._server.wait()

        _bounded(run, f"stop {self._name}")


def _endpoint(topic: str, handlers: Mapping[str, Handler]) -> Any:
    """An object with a method for each handler, as oslo.messaging wants it."""

    def method(name: str) -> Callable[..., dict[str, Any]]:
        return lambda self, context, payload: answer(topic, name, handlers[name], payload)

    members: dict[str, Any] = {name: method(name) for name in handlers}
    members["target"] = oslo_messaging.Target(version=VERSION)
    return type("Endpoint", (), members)()


def _bounded(work: Callable[[], None], what: str) -> None:
    """Runs ``work``, but not for longer than a broker that is away deserves."""
    thread = threading.Thread(target=work, name=what, daemon=True)
    thread.start()
    thread.join(_STOP_SECONDS)
    if thread.is_alive():
        _LOG.warning("given up: %s", what)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
