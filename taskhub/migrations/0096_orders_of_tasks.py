from django.db import migrations, models

from taskhub.migrations._online_index import AddIndexOnline
from taskhub.models.task import PriorityRank


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("taskhub", "0095_pending_events"),
    ]

    operations = [
        AddIndexOnline(
            model_name='task',
            index=models.Index(fields=['-updated_at', '-created_at', '-id'], name='task_updated'),
        ),
        AddIndexOnline(
            model_name='task',
            index=models.Index(fields=['title', '-created_at', '-id'], name='task_title'),
        ),
        AddIndexOnline(
            model_name='task',
            index=models.Index(models.OrderBy(PriorityRank('priority'), descending=True), models.OrderBy(models.F('created_at'), descending=True), models.OrderBy(models.F('id'), descending=True), name='task_urgent'),
        ),
        AddIndexOnline(
            model_name='task',
            index=models.Index(PriorityRank('priority'), models.OrderBy(models.F('created_at'), descending=True), models.OrderBy(models.F('id'), descending=True), name='task_rank'),
        ),
        AddIndexOnline(
            model_name='task',
            index=models.Index(fields=['status', '-created_at', '-id'], name='task_status_created'),
        ),
        AddIndexOnline(
            model_name='task',
            index=models.Index(fields=['status', '-updated_at', '-created_at', '-id'], name='task_status_updated'),
        ),
        AddIndexOnline(
            model_name='task',
            index=models.Index(fields=['status', 'title', '-created_at', '-id'], name='task_status_title'),
        ),
        AddIndexOnline(
            model_name='task',
            index=models.Index(models.F('status'), models.OrderBy(PriorityRank('priority'), descending=True), models.OrderBy(models.F('created_at'), descending=True), models.OrderBy(models.F('id'), descending=True), name='task_status_urgent'),
        ),
        AddIndexOnline(
            model_name='task',
            index=models.Index(models.F('status'), PriorityRank('priority'), models.OrderBy(models.F('created_at'), descending=True), models.OrderBy(models.F('id'), descending=True), name='task_status_rank'),
        ),
        AddIndexOnline(
            model_name='task',
            index=models.Index(fields=['assignee', '-created_at', '-id'], name='task_assignee_created'),
        ),
        AddIndexOnline(
            model_name='task',
            index=models.Index(fields=['created_by', '-created_at', '-id'], name='task_maker_created'),
        ),
        AddIndexOnline(
            model_name='task',
            index=models.Index(condition=models.Q(('private', True)), fields=['-created_at', '-id'], name='task_private'),
        ),
        AddIndexOnline(
            model_name='task',
            index=models.Index(condition=models.Q(('held_back', True)), fields=['-created_at', '-id'], name='task_held_back'),
        ),
        AddIndexOnline(
            model_name='task',
            index=models.Index(condition=models.Q(('open_question__isnull', False)), fields=['-created_at', '-id'], name='task_asks'),
        ),
        migrations.RemoveIndex(
            model_name='task',
            name='task_status_newest',
        ),
        migrations.RemoveIndex(
            model_name='task',
            name='task_assignee_newest',
        )
    ]
