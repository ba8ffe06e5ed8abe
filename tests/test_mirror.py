"""The tests mirror the modules: a change of src/tsfm/ROOM/MODULE.py is tested in tests/ROOM/test_MODULE.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import HERE, LONGEST

SOURCE = HERE.parent / "src/tsfm"
NO_MODULES = ("__init__.py", "__main__.py")
MODULES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if path.name not in NO_MODULES)
HOSTS = ("host", "page")  # what only a booted container, or a browser, can show
TESTS = sorted(
    path.relative_to(HERE).as_posix()
    for path in HERE.rglob("test_*.py")
    if path.relative_to(HERE).parts[0] not in HOSTS
)
# Modules, or whole rooms, without a test file of their name, and the file that holds their behaviour.
ELSEWHERE = {
    "card.py": "families/test_every_family.py",
    "errors.py": "http/test_server.py",
    "inifile.py": "test_settings.py",
    "kinds.py": "test_settings.py",
    "logs.py": "http/test_server.py",
    "paths.py": "test_packaging.py",
    "series.py": "numerics/test_scaling.py",
    "share/server.py": "cli/test_legacy_scripts.py",
    "cli/arguments.py": "cli/commands/test_forecast.py",
    "cli/client.py": "cli/commands/test_forecast.py",
    "cli/engines.py": "cli/commands/test_compare.py",
    "cli/entrants.py": "cli/commands/test_backtest.py",
    "cli/instances.py": "cli/commands/test_ps.py",
    "cli/judgement.py": "cli/commands/test_detect.py",
    "cli/many.py": "cli/commands/test_forecast.py",
    "cli/metrics.py": "test_monitoring.py",
    "cli/output/": "cli/test_output.py",
    "cli/prediction.py": "cli/commands/test_forecast.py",
    "cli/scores.py": "cli/commands/test_backtest.py",
    "cli/source/": "cli/test_source.py",
    "cli/started.py": "cli/commands/test_forecast.py",
    "cli/commands/import_.py": "weights/test_importer.py",
    "cli/commands/list.py": "cli/test_main.py",
    "cli/commands/port_holder.py": "host/test_deb.py",
    "cli/commands/pull.py": "weights/test_download.py",
    "cli/commands/remove.py": "weights/test_reader.py",
    "cli/commands/unregister.py": "cli/commands/test_register.py",
    "cli/commands/verify.py": "weights/test_reader.py",
    "table/": "test_table.py",
    "doctor/": "cli/commands/test_doctor.py",
    "engine/abilities.py": "http/test_promises.py",
    "engine/facts.py": "http/test_server.py",
    "engine/forecast_schema.py": "http/test_openapi.py",
    "engine/gather.py": "http/test_v1.py",
    "engine/v1/anomaly_detection.py": "http/test_anomaly.py",
    "engine/v1/answers.py": "http/test_v1.py",
    "engine/v1/covariates.py": "engine/v1/test_inputs.py",
    "engine/v1/cross_validation.py": "http/test_v1.py",
    "engine/v1/forecast.py": "http/test_v1.py",
    "engine/v1/imputation.py": "http/test_v1.py",
    "engine/v1/judging.py": "http/test_anomaly.py",
    "engine/v1/parameters.py": "engine/v1/test_inputs.py",
    "engine/fields.py": "engine/test_forecast.py",
    "engine/grid.py": "engine/test_imputation.py",
    "engine/ingress.py": "engine/test_scheduler.py",
    "engine/metrics.py": "http/test_server.py",
    "engine/pending.py": "engine/test_admission.py",
    "engine/planner.py": "engine/test_scheduler.py",
    "engine/room.py": "families/test_moirai.py",
    "engine/schemas.py": "http/test_openapi.py",
    "engine/work.py": "engine/test_scheduler.py",
    "engine/worker.py": "engine/test_scheduler.py",
    "families/naive.py": "http/test_server.py",
    "cli/commands/batch.py": "fleet/test_batch.py",
    "fleet/direct.py": "fleet/test_replica.py",
    "fleet/drain.py": "host/test_ray_fleet.py",
    "fleet/head.py": "fleet/test_replica.py",
    "fleet/membership.py": "cli/commands/test_fleet.py",
    "fleet/ray_node.py": "fleet/test_replica.py",
    "fleet/apply.py": "cli/commands/test_balancer.py",
    "fleet/hosts.py": "cli/commands/test_balancer.py",
    "fleet/tables.py": "fleet/test_batch.py",
    "fleet/worker.py": "fleet/test_batch.py",
    "http/app.py": "http/test_server.py",
    "http/encoding.py": "http/test_v1.py",
    "http/ending.py": "http/test_asgi.py",
    "http/lifecycle.py": "http/test_asgi.py",
    "http/page/": "http/test_page.py",
    "http/protocols/": "clients/test_clients.py",
    "http/reader_process.py": "http/test_bodies.py",
    "http/reading.py": "http/test_bodies.py",
    "http/refusals.py": "http/test_asgi.py",
    "http/transport/channel.py": "http/transport/test_hostile.py",
    "http/transport/listener.py": "http/transport/test_loop.py",
    "http/transport/parser.py": "http/transport/test_hostile.py",
    "nets/bolt.py": "families/test_chronos.py",
    "nets/chronos2.py": "families/test_chronos.py",
    "nets/feed.py": "families/test_chronos.py",
    "nets/flowstate.py": "families/test_flowstate.py",
    "nets/fracast.py": "families/test_fracast.py",
    "nets/fracast_features.py": "families/test_fracast.py",
    "nets/moirai.py": "families/test_moirai.py",
    "nets/moirai_encoder.py": "families/test_moirai.py",
    "nets/moirai_mixture.py": "families/test_moirai.py",
    "nets/moirai_patches.py": "families/test_moirai.py",
    "nets/int8_kernel.py": "nets/test_int8.py",
    "nets/moment.py": "families/test_moment.py",
    "nets/patches.py": "families/test_chronos.py",
    "nets/t5.py": "families/test_chronos.py",
    "nets/threads.py": "engine/test_calibration.py",
    "nets/timemoe.py": "families/test_timemoe.py",
    "nets/timesfm.py": "families/test_timesfm.py",
    "nets/tirex.py": "families/test_tirex.py",
    "nets/tirex_sizes.py": "families/test_tirex.py",
    "nets/toto.py": "families/test_toto.py",
    "nets/toto_layers.py": "families/test_toto.py",
    "nets/xlstm.py": "families/test_tirex.py",
    "numerics/exact.py": "http/test_promises.py",
    "numerics/localscale.py": "numerics/test_conformal.py",
    "numerics/residuals.py": "numerics/test_conformal.py",
    "numerics/windows.py": "families/test_moment.py",
    "official/": "official/test_adapters.py",
    "system/devices.py": "http/test_server.py",
    "system/handover.py": "cli/test_legacy_scripts.py",
    "system/preload.py": "http/test_same_answer.py",
    "system/subprocesses.py": "tdgpt/test_database.py",
    "system/systemctl.py": "cli/commands/test_fleet.py",
    "system/systemd.py": "http/test_server.py",
    "tdgpt/adapters.py": "tdgpt/test_reconcile.py",
    "tdgpt/anode.py": "tdgpt/test_newest_tdgpt.py",
    "tdgpt/endpoints.py": "tdgpt/test_reconcile.py",
    "tdgpt/files.py": "tdgpt/test_swap.py",
    "tdgpt/host.py": "tdgpt/test_newest_tdgpt.py",
    "tdgpt/marks.py": "tdgpt/test_ini.py",
    "tdgpt/packages.py": "tdgpt/test_listed.py",
    "tdgpt/rest.py": "tdgpt/test_database.py",
    "tdgpt/pyfacts.py": "tdgpt/test_config_py.py",
    "tdgpt/trust.py": "tdgpt/test_reconcile.py",
    "tdgpt/unitfile.py": "tdgpt/test_newest_tdgpt.py",
    "weights/checkpoints.py": "weights/test_reader.py",
    "weights/configuration.py": "families/test_configurations.py",
    "weights/fetch.py": "weights/test_download.py",
    "weights/folder.py": "weights/test_safe_path.py",
    "weights/hub.py": "weights/test_download.py",
    "weights/identify.py": "weights/test_recognise.py",
    "weights/manifest.py": "weights/test_importer.py",
    "weights/retry.py": "weights/test_download.py",
    "weights/pins.py": "weights/test_download.py",
    "weights/problems.py": "weights/test_recognise.py",
    "weights/progress.py": "weights/test_download.py",
    "weights/reading.py": "weights/test_recognise.py",
}
# Test files that are about several modules together, or about what is no module.
TOGETHER = {
    "http/test_anomaly.py": "anomaly detection over HTTP",
    "http/test_garbage.py": "what a request leaves behind",
    "test_bench.py": "the benchmark",
    "test_completion.py": "the completion in each shell",
    "test_docs.py": "the documents",
    "test_gpu_check.py": "the check of all families on a GPU",
    "test_documented_commands.py": "every command of the documents",
    "test_mirror.py": "the tests",
    "test_monitoring.py": "the files for Prometheus and Grafana",
    "test_translations.py": "the Chinese pages",
    "test_website.py": "the documentation as a site",
    "test_packaging.py": "what packages are made from",
    "test_sizes.py": "the length of modules and functions",
    "clients/test_clients.py": "other people's clients",
    "fleet/test_tools.py": "make fleet",
    "families/test_configurations.py": "every key of every family's configuration",
    "families/test_every_family.py": "what every family has",
    "families/test_on_a_card.py": "every family on a simulated CUDA device",
    "families/test_imports.py": "what loading a family imports",
    "families/test_instruction_sets.py": "every family on CPUs with AVX2 and without",
    "http/test_one_way.py": "the modules that a request goes through",
    "http/test_promises.py": "what every family promises over HTTP",
    "http/test_same_answer.py": "every family by HTTP, script and command",
    "http/transport/test_contract.py": "what is used of waitress and Flask beyond their documentation",
    "http/transport/test_hostile.py": "hostile traffic against the whole service",
    "nets/test_torch_contract.py": "what is used of torch beyond its documentation",
    "official/test_adapters.py": "every maker's package",
    "official/test_service.py": "a maker's package as a service",
    "tdgpt/test_newest_tdgpt.py": "a newer TDgpt, from its host to its anode",
    "tdgpt/test_registration_document.py": "the documents about the registration",
    "tdgpt/test_sql_to_service.py": "from SQL to the service",
    "weights/test_package.py": "weights as deb and rpm",
}


def own_test(module: str) -> str:
    path = Path(module)
    return (path.parent / f"test_{path.stem.rstrip('_')}.py").as_posix()


def exception(module: str) -> str | None:
    """The entry of ELSEWHERE that holds for a module: its own, or its room's."""
    rooms = [f"{parent.as_posix()}/" for parent in Path(module).parents]
    return next((key for key in (module, *rooms) if key in ELSEWHERE), None)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_test_file_of_its_name_or_a_named_exception(module: str) -> None:
    named = exception(module)
    has_own = (HERE / own_test(module)).exists()
    assert has_own != (named is not None), (
        f"{module}: write tests/{own_test(module)}, or name in ELSEWHERE the file that tests it"
        if named is None
        else f"{module}: it has tests/{own_test(module)}: take {named!r} out of ELSEWHERE"
    )


@pytest.mark.parametrize("test", TESTS)
def test_a_test_file_has_a_module_or_a_package_of_its_name_or_a_named_exception(test: str) -> None:
    path = Path(test)
    stem = path.stem.removeprefix("test_")
    found = any((SOURCE / path.parent / name).exists() for name in (f"{stem}.py", f"{stem}_.py", f"{stem}/__init__.py"))
    assert found != (test in TOGETHER), f"tests/{test}: expected one of a module of that name and an entry in TOGETHER"


def test_no_exception_is_out_of_date() -> None:
    used = {exception(module) for module in MODULES}
    assert set(ELSEWHERE) <= used, f"no such module: {set(ELSEWHERE) - used}"
    gone = [name for name in (*ELSEWHERE.values(), *TOGETHER, *LONGEST) if not (HERE / name).exists()]
    assert not gone, f"no such test file: {gone}"
