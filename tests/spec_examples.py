"""The example clients of the two specs, as they are written there."""

from __future__ import annotations

from typing import Final

SPEC_003_ADDRESS: Final = "http://localhost:8000/api/events/stream"
SPEC_003_BROWSER: Final = """\
const eventSource = new EventSource('http://localhost:8000/api/events/stream');

eventSource.onmessage = function(event) {
    const data = JSON.parse(event.data);
    console.log('Event received:', data);
};

eventSource.onerror = function(error) {
    console.error('SSE Error:', error);
};
"""
SPEC_000_ADDRESS: Final = "/sse?sandboxId=your-sandbox-id&eventType=sandbox-status"
SPEC_000_BROWSER: Final = """\
// Connect to sandbox status updates
const eventSource = new EventSource('/sse?sandboxId=your-sandbox-id&eventType=sandbox-status');

eventSource.onopen = function(event) {
    console.log('Connected to SSE stream');
};

eventSource.addEventListener('sandbox-status', function(event) {
    const data = JSON.parse(event.data);
    console.log('Sandbox status:', data);
});

eventSource.addEventListener('error', function(event) {
    console.error('SSE error:', event);
});
"""
SPEC_000_END: Final = """\
// Don't forget to close the connection
eventSource.close();
"""
"""The last lines of the example; at once they would close the stream before its first event."""
