"""Writes dashboards/*.json: `make dashboards`. The tables below are what to edit; a test compares.

Usage: generate.py [FOLDER]  (dashboards/ beside this file)"""

import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from panels import (  # noqa: E402
    GREEN, ORANGE, RED, YELLOW, Panel, Query, Row, dashboard, heatmap, lines, quantiles, stat)

R = "[$__rate_interval]"
TTFT, ITL = "alcca_time_to_first_token_seconds", "alcca_inter_token_latency_seconds"
E2E, TPOT = "alcca_e2e_request_latency_seconds", "alcca_time_per_output_token_seconds"
TOKENS, REQUESTS = "suffix: tokens/s", "suffix: requests/s"


def mean(histogram):
    return f"sum(rate({histogram}_sum{{@}}{R})) / sum(rate({histogram}_count{{@}}{R}))"


def burn(record, budget):
    """Burn rates of an objective, as multiples of what its budget allows."""
    return [Query(f'max(job:{record}:ratio_rate{window}{{job=~"$job"}}) / {budget}', window)
            for window in ("5m", "1h", "6h", "3d")]


BURN_STEPS = ((GREEN, None), (YELLOW, 1), (ORANGE, 6), (RED, 14.4))


def serving():
    return [
        Row("Now", [
            stat("Ready daemons", "Daemons whose readiness is SERVING.", "none",
                 'sum(alcca_health_serving{@,service="readiness"})', steps=((RED, None), (GREEN, 1))),
            stat("Requests", "Generate and Chat calls begun.", REQUESTS,
                 f"sum(rate(alcca_requests_started_total{{@}}{R}))"),
            stat("Output", "Tokens generated, all daemons.", TOKENS,
                 f"sum(rate(alcca_generation_tokens_total{{@}}{R}))"),
            stat("First token, p95", "Arrival to a sequence's first token, 95th percentile.", "s",
                 quantiles(TTFT, 0.95)[0].expr, steps=((GREEN, None), (YELLOW, 0.5), (RED, 1))),
            stat("Token gap, p95", "Between two tokens of a sequence, 95th percentile.", "s",
                 quantiles(ITL, 0.95)[0].expr, steps=((GREEN, None), (YELLOW, 0.05), (RED, 0.1))),
            stat("Alerts that fire", "Of deploy/prometheus; docs/alerts.md says what to do.", "none",
                 'count(ALERTS{alertname=~"Alcca.*",alertstate="firing"}) or vector(0)',
                 steps=((GREEN, None), (RED, 1)))]),
        Row("Requests", [
            lines("Ended by reason", "Calls that ended, by the reason of their worst sequence. abort: the "
                  "client cancelled; deadline: its deadline passed; error: our fault.", REQUESTS,
                  Query(f"sum by (reason) (rate(alcca_requests_finished_total{{@}}{R}))", "{{reason}}"),
                  stacked=True),
            lines("Refused by reason", "Calls that never reached the queue. queue_full asks for replicas; "
                  "invalid and unimplemented are the client's.", REQUESTS,
                  Query(f"sum by (reason) (rate(alcca_requests_rejected_total{{@}}{R}))", "{{reason}}"),
                  stacked=True),
            lines("Running and waiting", "Sequences in the batch, and in the queue.", "none",
                  Query("sum(alcca_num_requests_running{@})", "running"),
                  Query("sum(alcca_num_requests_waiting{@})", "waiting")),
            lines("Tokens", "Prompt tokens are counted when their sequence ends, output as it is generated.",
                  TOKENS, Query(f"sum(rate(alcca_prompt_tokens_total{{@}}{R}))", "prompt"),
                  Query(f"sum(rate(alcca_generation_tokens_total{{@}}{R}))", "output")),
            lines("Tokens per request", "Of sequences that ended.", "none",
                  *[Query(q.expr, f"{name} {q.legend}") for name in ("prompt", "generation")
                    for q in quantiles(f"alcca_request_{name}_tokens", 0.5, 0.95)]),
            lines("Where time goes before the first token", "Means: arrival to first scheduled, first "
                  "scheduled to first token.", "s", Query(mean("alcca_request_queue_time_seconds"), "queue"),
                  Query(mean("alcca_request_prefill_time_seconds"), "prefill"), stacked=True)]),
        Row("Latency", [
            heatmap("Time to first token", "Sequences by how long their first token took.", TTFT),
            heatmap("Between tokens", "Tokens by how long after the one before they came.", ITL),
            heatmap("Whole request", "Calls by how long they took, arrival to end.", E2E),
            lines("Time to first token, percentiles", "The line is the objective of AlccaFirstTokenLate.", "s",
                  *quantiles(TTFT, 0.5, 0.95, 0.99), steps=((GREEN, None), (RED, 1))),
            lines("Between tokens, percentiles", "The line is the objective of AlccaTokenGapLong.", "s",
                  *quantiles(ITL, 0.5, 0.95, 0.99), steps=((GREEN, None), (RED, 0.1))),
            lines("Per output token, percentiles", "Decode time of a sequence over its tokens after the "
                  "first: what a reader feels.", "s", *quantiles(TPOT, 0.5, 0.95, 0.99))]),
        Row("Objectives: how fast the error budget burns", [
            lines("First token later than 1 s", "Multiples of what 99 % allows, over several windows. 14.4 for "
                  "an hour or 6 for six hours pages, 1 for three days is a ticket.", "none",
                  *burn("alcca_first_token_late", 0.01), steps=BURN_STEPS),
            lines("Token gap above 100 ms", "Multiples of what 99 % allows; as beside.", "none",
                  *burn("alcca_token_gap_long", 0.01), steps=BURN_STEPS),
            lines("Requests failed", "Errors, full queues and UNAVAILABLE: multiples of what 99.9 % allows.",
                  "none", *burn("alcca_requests_failed", 0.001), steps=BURN_STEPS)]),
        Row("Step loop", [
            lines("Step duration", "One turn of the loop that computed something.", "s",
                  *quantiles("alcca_step_duration_seconds", 0.5, 0.95, 0.99)),
            lines("Tokens in a step", "Rows of a batch: one for each sequence that decodes, and prompt chunks.",
                  "none", *quantiles("alcca_batch_tokens", 0.5, 0.95),
                  Query("max(alcca_batch_tokens_limit{@})", "limit"), dashed=("limit",)),
            lines("Since the loop last turned", "Idle turns included. A minute is AlccaStepLoopStalled.", "s",
                  Query("time() - alcca_step_loop_last_turn_timestamp_seconds{@}", "{{instance}}"),
                  steps=((GREEN, None), (RED, 60)))])]


def attention():
    performed, dense = "alcca_attention_interactions_total", "alcca_attention_dense_equivalent_total"
    near, queries = "alcca_attention_near_queries_total", "alcca_attention_queries_total"
    found, wanted = "alcca_search_recall_found_keys_total", "alcca_search_recall_wanted_keys_total"
    error, checked = "alcca_multipole_checked_error_total", "alcca_multipole_checked_queries_total"
    energy = f"sum(rate(alcca_gpu_energy_joules_total{{@}}{R}))"
    output = f"sum(rate(alcca_generation_tokens_total{{@}}{R}))"

    def ratio(above, below, by=""):
        by = f" by ({by}) " if by else ""
        return f"sum{by}(rate({above}{{@}}{R})) / sum{by}(rate({below}{{@}}{R}))"

    def only_used(expr, by):  # a mode that nobody used is 0 / 0
        return f"{expr} and sum by ({by}) (rate({queries}{{@}}{R})) > 0"
    return [
        Row("Now", [
            stat("Performed of dense", "Interactions performed over what causal dense attention would have "
                 "done, all modes, index and sums included (docs/counting.md).", "percentunit",
                 ratio(performed, dense), maximum=None),
            stat("Not performed", "Interactions a second that dense would have done beyond ours.",
                 "suffix: /s", f"sum(rate({dense}{{@}}{R})) - sum(rate({performed}{{@}}{R}))", minimum=None),
            stat("Recall of the tree", "Of the nearest keys, the share that tree search finds; checked live.",
                 "percentunit", ratio(found, wanted), maximum=1,
                 steps=((RED, None), (YELLOW, 0.25), (GREEN, 0.35))),
            stat("Near queries of alcca", "Share answered by the mean value alone.", "percentunit",
                 f'sum(rate({near}{{@,mode="alcca"}}{R})) / sum(rate({queries}{{@,mode="alcca"}}{R}))',
                 maximum=1),
            stat("Index memory", "Key indices, clusters and sums of all running sequences.", "bytes",
                 "sum(alcca_index_bytes{@})"),
            stat("Tokens per joule (CUDA)", "Output tokens over the GPU's energy. Only where NVIDIA's driver "
                 "tells.", "suffix: tokens/J", f"{output} / {energy}")]),
        Row("Work", [
            lines("Performed and dense equivalent", "Interactions a second: one is a product, distance or "
                  "accumulation of one head's vector.", "suffix: /s",
                  Query(f"sum(rate({dense}{{@}}{R}))", "dense would have"),
                  Query(f"sum(rate({performed}{{@}}{R}))", "performed"), dashed=("dense would have",)),
            lines("Performed per mode", "Share of dense. Above 1 a mode costs more than it saves.",
                  "percentunit", Query(only_used(ratio(performed, dense, "mode"), "mode"), "{{mode}}"),
                  steps=((GREEN, None), (RED, 1))),
            lines("Saved by mode and phase", "1 - performed / dense, prefill and decode apart.", "percentunit",
                  Query(f"1 - ({ratio(performed, dense, 'mode, phase')}) and on (mode, phase) "
                        f'sum by (mode, phase) (rate({dense}{{@,mode!="dense"}}{R})) > 0',
                        "{{mode}} {{phase}}"), minimum=None, maximum=1),
            lines("Interactions by kind", "What the work is: exact and centroid scores, the near test, index "
                  "building; values and running sums.", "suffix: /s",
                  Query(f"sum by (kind) (rate({performed}{{@}}{R})) > 0", "{{kind}}"), stacked=True),
            lines("Interactions per query", "A query: one token in one layer and head. Logarithmic.", "none",
                  Query(only_used(ratio(performed, queries, "mode"), "mode"), "{{mode}}"), log=True),
            lines("Cache read per query", "Bytes of keys and values. Logarithmic.", "bytes",
                  Query(only_used(ratio("alcca_attention_kv_bytes_read_total", queries, "mode"), "mode"),
                        "{{mode}}"), log=True)]),
        Row("Fidelity", [
            lines("Recall of the tree", "Found of the nearest keys, and the bar of AlccaSearchRecallLow.",
                  "percentunit", Query(ratio(found, wanted), "now"),
                  Query('avg(job:alcca_search_recall:ratio_rate30m{job=~"$job"})', "30 min"),
                  Query("max(alcca_search_recall_bar{@})", "bar"), maximum=1, dashed=("bar",)),
            lines("Error of multipole", "Relative error of a layer and head's output, mean of the queries compared "
                  "with dense; checked live.", "percentunit", Query(ratio(error, checked), "error")),
            lines("Near share", "Queries that the near gate answers by the mean value.", "percentunit",
                  Query(only_used(ratio(near, queries, "mode"), "mode"), "{{mode}}"), maximum=1),
            lines("Fallbacks to dense", "Sequences whose index met its bound of memory.", "suffix: /s",
                  Query(f"sum(rate(alcca_attention_fallbacks_total{{@}}{R}))", "fallbacks"))]),
        Row("Index", [
            heatmap("Index build time", "Sequences by the time spent on their indices and sums.",
                    "alcca_index_build_seconds"),
            lines("Build time of inference", "Share of a sequence's prefill and decode spent on its index.",
                  "percentunit", Query(f"sum(rate(alcca_index_build_seconds_sum{{@}}{R})) / "
                                       f"sum(rate(alcca_request_inference_time_seconds_sum{{@}}{R}))",
                                       "index build")),
            lines("Index and cache memory", "Bytes of the indices beside the KV pages in use.", "bytes",
                  Query("sum(alcca_index_bytes{@})", "indices"),
                  Query("sum(alcca_kv_cache_usage_ratio{@} * alcca_kv_cache_bytes{@})", "KV pages in use"))]),
        Row("Energy: only with CUDA, where NVIDIA's driver tells", [
            lines("Output tokens per joule (CUDA)", "The GPU's whole energy, other processes included.",
                  "suffix: tokens/J", Query(f"{output} / {energy}", "tokens per joule"), width=12, height=5),
            lines("Power (CUDA)", "What the whole GPU draws now.", "watt",
                  Query("alcca_gpu_power_watts{@}", "{{instance}}"), width=12, height=5)])]


def capacity():
    busy = f"clamp_max(avg(rate(alcca_step_duration_seconds_sum{{@}}{R})), 1)"
    return [
        Row("Now", [
            stat("Replicas", "Daemons that answer their scrape.", "none", "count(alcca_build_info{@})",
                 steps=((RED, None), (GREEN, 1))),
            stat("Step loop busy", "Share of time in which the loop computes, mean of replicas.",
                 "percentunit", busy, maximum=1, steps=((GREEN, None), (YELLOW, 0.8), (RED, 0.95))),
            stat("Places taken", "Running sequences of max_num_seqs.", "percentunit",
                 "sum(alcca_num_requests_running{@}) / sum(alcca_running_requests_limit{@})", maximum=1,
                 steps=((GREEN, None), (YELLOW, 0.8), (RED, 0.95))),
            stat("Waiting per replica", "What to scale on first: a queue means that replicas are short.",
                 "none", "sum(alcca_num_requests_waiting{@}) / count(alcca_num_requests_waiting{@})",
                 steps=((GREEN, None), (YELLOW, 5), (RED, 20))),
            stat("KV cache in use", "Share of the pages, mean of replicas.", "percentunit",
                 "avg(alcca_kv_cache_usage_ratio{@})", maximum=1,
                 steps=((GREEN, None), (YELLOW, 0.8), (RED, 0.95))),
            stat("Output at full load", "Output rate over the busy share: what these replicas would give with "
                 "this mix of requests and more of them. A low estimate, since batches grow.", TOKENS,
                 f"sum(rate(alcca_generation_tokens_total{{@}}{R})) / {busy}")]),
        Row("Saturation", [
            lines("Step loop busy", "Per daemon. At 1 more requests only wait longer.", "percentunit",
                  Query(f"clamp_max(rate(alcca_step_duration_seconds_sum{{@}}{R}), 1)", "{{instance}}"),
                  maximum=1),
            lines("Running", "Sequences, and how many there may be.", "none",
                  Query("sum(alcca_num_requests_running{@})", "running"),
                  Query("sum(alcca_running_requests_limit{@})", "limit"), dashed=("limit",)),
            lines("Waiting", "Sequences queued, and how many there may be.", "none",
                  Query("sum(alcca_num_requests_waiting{@})", "waiting"),
                  Query("sum(alcca_waiting_requests_limit{@})", "limit"), dashed=("limit",)),
            lines("Prompt tokens waiting", "Of queued sequences.", "none",
                  Query("sum(alcca_num_waiting_prompt_tokens{@})", "waiting")),
            lines("KV cache", "Tokens that fit the pages in use, and all pages.", "none",
                  Query("sum(alcca_kv_cache_usage_ratio{@} * alcca_kv_cache_pages{@} "
                        "* alcca_kv_cache_page_tokens{@})", "in use"),
                  Query("sum(alcca_kv_cache_pages{@} * alcca_kv_cache_page_tokens{@})", "all"),
                  dashed=("all",)),
            lines("Prefix cache", "Share of the prompt tokens looked up that had been computed before, and of the "
                  "pages that are kept for it.", "percentunit",
                  Query(f"sum(rate(alcca_prefix_cache_hits_total{{@}}{R})) / "
                        f"sum(rate(alcca_prefix_cache_queries_total{{@}}{R}))", "found"),
                  Query("avg(alcca_kv_cache_idle_ratio{@})", "pages kept"), maximum=1),
            lines("Preemptions", "Sequences evicted from a full cache, to be computed again.", "suffix: /s",
                  Query(f"sum(rate(alcca_num_preemptions_total{{@}}{R}))", "preemptions"))]),
        Row("Throughput", [
            lines("Output per replica", "Tokens that each daemon generates.", TOKENS,
                  Query(f"rate(alcca_generation_tokens_total{{@}}{R})", "{{instance}}")),
            lines("Tokens per step", "Mean rows of a batch: what batching gains.", "none",
                  Query(mean("alcca_batch_tokens"), "tokens")),
            lines("Queue time", "Arrival to first scheduled.", "s",
                  *quantiles("alcca_request_queue_time_seconds", 0.5, 0.95))]),
        Row("Machine", [
            lines("Processor", "Cores in use by each daemon.", "none",
                  Query(f"rate(process_cpu_seconds_total{{@}}{R})", "{{instance}}"), width=6),
            lines("Memory", "Resident, and what each daemon may use.", "bytes",
                  Query("process_resident_memory_bytes{@}", "{{instance}}"),
                  Query("min(alcca_memory_limit_bytes{@})", "limit"), dashed=("limit",), width=6, log=True),
            lines("What memory is for", "Weights; KV pages set aside; indices now.", "bytes",
                  Query("sum(alcca_model_weight_bytes{@})", "weights"),
                  Query("sum(alcca_kv_cache_bytes{@})", "KV cache"),
                  Query("sum(alcca_index_bytes{@})", "indices"), width=6, stacked=True),
            lines("File descriptors", "Open; running out is AlccaFileDescriptorsLow.", "percentunit",
                  Query("process_open_fds{@} / process_max_fds{@}", "{{instance}}"), width=6,
                  steps=((GREEN, None), (RED, 0.8))),
            Panel("table", "What runs", "Model, device and version of each daemon.", "none",
                  [Query("alcca_model_info{@} * on (job, instance) group_left (version) alcca_build_info{@}")],
                  width=24, height=5)]),
        Row("GPU: only with CUDA, where NVIDIA's driver tells", [
            lines("GPU busy (CUDA)", "Share of the driver's sample with a kernel running; says little about "
                  "how full the GPU is.", "percentunit", Query("alcca_gpu_busy_ratio{@}", "{{instance}}"),
                  maximum=1, height=5),
            lines("GPU memory (CUDA)", "Of all processes on the GPU.", "bytes",
                  Query("alcca_gpu_memory_used_bytes{@}", "{{instance}}"),
                  Query("min(alcca_gpu_memory_total_bytes{@})", "total"), dashed=("total",), height=5),
            lines("GPU temperature (CUDA)", "Above its limit a GPU slows itself down.", "celsius",
                  Query("alcca_gpu_temperature_celsius{@}", "{{instance}}"), height=5)])]


DASHBOARDS = {
    "serving": ("alcca: serving", "Rates, errors and durations of requests, and the step loop under them.",
                serving),
    "attention": ("alcca: attention", "What the approximation performs, saves and finds.", attention),
    "capacity": ("alcca: capacity", "How full the replicas are, and what they could still take.", capacity),
}


def main(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, (title, description, rows) in DASHBOARDS.items():
        text = json.dumps(dashboard(f"alcca-{name}", title, description, rows()), indent=1) + "\n"
        (folder / f"{name}.json").write_text(text)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "dashboards")
